"""What a row remembers of the newest look besides its jobs: its figures, what a bound hides, a loss that is open."""

import json
from datetime import datetime
from typing import Any

from app.clock import parse_utc, utc_text
from app.reconciliation.models import ServiceState
from app.reconciliation.state import Figures, Loss, Verdict


def note(row: ServiceState, verdict: Verdict) -> None:
    row.figures_json = figures_text(verdict.figures)
    row.cut_json = json.dumps({queue: utc_text(at) for queue, at in verdict.cut_since.items()})
    row.loss_json = _loss_text(verdict.loss)


def figures_text(figures: Figures | None) -> str | None:
    if figures is None:
        return None
    return json.dumps([figures.unfinished, figures.ended, figures.workers, figures.queues])


def figures_of(row: ServiceState) -> Figures | None:
    return None if row.figures_json is None else Figures(*json.loads(row.figures_json))


def cut_of(row: ServiceState) -> dict[str, datetime]:
    found: dict[str, Any] = json.loads(row.cut_json or "{}")
    return {queue: parse_utc(at) for queue, at in found.items()}


def loss_of(row: ServiceState) -> Loss | None:
    if row.loss_json is None:
        return None
    since, before, after = json.loads(row.loss_json)
    return Loss(parse_utc(since), before, after)


def _loss_text(loss: Loss | None) -> str | None:
    return None if loss is None else json.dumps([utc_text(loss.since), loss.before, loss.after])
