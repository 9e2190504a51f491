"""Where a reader begins, from what it sent and what the log is now."""

from dataclasses import replace

from sqlalchemy.orm import Session

from app.eventlog import cursor
from app.eventlog import reader as log
from app.eventlog.cursor import StartPosition


def resolve_start_position(session: Session, text: str | None, generation: str | None = None) -> StartPosition:
    """`text` is the reader's cursor, `generation` the one that came with it, if it says so."""
    bounds = log.bounds(session)
    sent = cursor.parse_cursor(text)
    is_lost = sent is not None and bounds.is_lost(sent)
    is_other = bool(generation) and generation != bounds.generation
    found = cursor.resolve_start(text, bounds.head, bounds.floor, is_lost=is_lost or is_other)
    return replace(found, generation=bounds.generation)
