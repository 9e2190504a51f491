"""What a row remembers of the newest look besides its jobs: its figures, what a bound hides, which queues no worker
serves, a loss that is open."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.infra.clock import parse_utc, utc_text
from app.reconciliation.models import ServiceState
from app.reconciliation.types import Figures, Loss, Verdict


def note(row: ServiceState, verdict: Verdict) -> None:
    row.figures_json = figures_text(verdict.figures)
    row.cut_json = since_text(verdict.cut_since)
    row.unserved_json = since_text(verdict.unserved_since) if verdict.unserved_since else None
    row.loss_json = _loss_text(verdict.loss)


def figures_text(figures: Figures | None) -> str | None:
    if figures is None:
        return None
    return json.dumps([figures.unfinished, figures.ended, figures.workers, figures.queues])


def figures_of(row: ServiceState) -> Figures | None:
    return None if row.figures_json is None else Figures(*json.loads(row.figures_json))


def cut_of(row: ServiceState) -> dict[str, datetime]:
    return _since_of(row.cut_json)


def unserved_of(row: ServiceState) -> dict[str, datetime]:
    return _since_of(row.unserved_json)


def loss_of(row: ServiceState) -> Loss | None:
    if row.loss_json is None:
        return None
    since, before, after = json.loads(row.loss_json)
    return Loss(parse_utc(since), before, after)


def _since_of(text: str | None) -> dict[str, datetime]:
    found: dict[str, Any] = json.loads(text or "{}")
    return {queue: parse_utc(at) for queue, at in found.items()}


def since_text(since: Mapping[str, datetime]) -> str:
    return json.dumps({queue: utc_text(at) for queue, at in since.items()})


def _loss_text(loss: Loss | None) -> str | None:
    return None if loss is None else json.dumps([utc_text(loss.since), loss.before, loss.after])
