"""Measures the log: rows by the range of ids, bytes by cached sums, because rows never change."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.eventlog import generation
from app.eventlog import reader as log
from app.eventlog.models import EventRow
from app.infra.concurrency import yield_to_loop

# Ids whose payload sizes are summed in one query, during which SQLite blocks the event loop.
CHUNK_IDS = 200


@dataclass(frozen=True, slots=True)
class LogSize:
    rows: int
    """Counted by ids, so on PostgreSQL rolled-back transactions count as well."""
    bytes: int
    """Total size of the payloads."""


class LogSizeMeter:
    """Keeps the sums of one process, so that it reads each payload once."""

    def __init__(self) -> None:
        self._sums: dict[int, int] = {}
        self._spans: list[tuple[int, int]] = []
        self.last = LogSize(0, 0)

    def measure(self, session: Session) -> LogSize:
        spans = _id_spans(session)
        if spans == self._spans:
            return self.last
        # Sums are cached by the first id of their chunk, so spans begin with a whole chunk.
        chunks = [range(first - first % CHUNK_IDS, last + 1, CHUNK_IDS) for first, last in spans]
        wanted = {start for starts in chunks for start in starts}
        self._sums = {start: held for start, held in self._sums.items() if start in wanted}
        head, floor = log.head(session), log.floor(session)
        held = 0
        for start in sorted(wanted):
            if start not in self._sums or start <= floor or start + CHUNK_IDS > head:  # rows change at both ends
                self._sums[start] = _sum_chunk(session, start)
                session.rollback()  # before yielding: others may need the connection, a checkpoint the end of the read
                yield_to_loop()
            held += self._sums[start]
        self._spans, self.last = spans, LogSize(sum(last - first + 1 for first, last in spans), held)
        return self.last


def _id_spans(session: Session) -> list[tuple[int, int]]:
    """Ranges of ids in the log: what is left from before the last restore, and what was added since."""
    bounds, newest = log.bounds(session), generation.current_generation(session)
    spans = [(bounds.floor + 1, newest.after_id), (max(bounds.floor + 1, newest.first_id), bounds.head)]
    return [(first, last) for first, last in spans if first <= last]


def _sum_chunk(session: Session, start: int) -> int:
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    text = EventRow.data_json
    size = sa.func.length(sa.cast(text, sa.LargeBinary)) if is_sqlite else sa.func.octet_length(text)
    found = sa.select(sa.func.sum(size)).where(EventRow.id >= start, EventRow.id < start + CHUNK_IDS)
    return int(session.scalar(found) or 0)
