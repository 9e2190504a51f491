"""Stores the results of the newest snapshot in the state row: figures, cut and unserved queues, the open loss."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.infra.clock import parse_utc, utc_text
from app.reconciliation.known_state import Figures, Loss
from app.reconciliation.models import ServiceState
from app.reconciliation.types import ServiceVerdict


def record_figures(row: ServiceState, verdict: ServiceVerdict) -> None:
    row.figures_json = dump_figures(verdict.figures)
    row.cut_json = dump_since(verdict.cut_since)
    row.unserved_json = dump_since(verdict.unserved_since) if verdict.unserved_since else None
    row.loss_json = _dump_loss(verdict.loss)


def dump_figures(figures: Figures | None) -> str | None:
    if figures is None:
        return None
    return json.dumps([figures.unfinished, figures.ended, figures.workers, figures.queues])


def load_figures(row: ServiceState) -> Figures | None:
    return None if row.figures_json is None else Figures(*json.loads(row.figures_json))


def load_cut_since(row: ServiceState) -> dict[str, datetime]:
    return _load_since(row.cut_json)


def load_unserved_since(row: ServiceState) -> dict[str, datetime]:
    return _load_since(row.unserved_json)


def load_loss(row: ServiceState) -> Loss | None:
    if row.loss_json is None:
        return None
    since, before, after = json.loads(row.loss_json)
    return Loss(parse_utc(since), before, after)


def _load_since(text: str | None) -> dict[str, datetime]:
    found: dict[str, Any] = json.loads(text or "{}")
    return {queue: parse_utc(at) for queue, at in found.items()}


def dump_since(since: Mapping[str, datetime]) -> str:
    return json.dumps({queue: utc_text(at) for queue, at in since.items()})


def _dump_loss(loss: Loss | None) -> str | None:
    return None if loss is None else json.dumps([utc_text(loss.since), loss.before, loss.after])
