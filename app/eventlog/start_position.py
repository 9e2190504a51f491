"""Determines where a client begins to read, from the cursor it sent and the current log."""

from dataclasses import replace

from sqlalchemy.orm import Session

from app.eventlog import cursor
from app.eventlog import reader as log
from app.eventlog.cursor import StartPosition


def resolve_start_position(session: Session, text: str | None, generation: str | None = None) -> StartPosition:
    """Resolve the client's cursor `text`; `generation` is the one it was handed out with, if the client sent it."""
    bounds = log.bounds(session)
    sent = cursor.parse_cursor(text)
    is_lost = sent is not None and bounds.is_lost(sent)
    is_other = bool(generation) and generation != bounds.generation
    found = cursor.resolve_start(text, bounds.head, bounds.floor, is_lost=is_lost or is_other)
    return replace(found, generation=bounds.generation)
