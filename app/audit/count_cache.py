"""Counts audit entries per filter, exactly up to a limit. Counts are cached, because entries never change."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.audit.models import AuditRow
from app.audit.reader_pool import Fetch

MAX_COUNTED_ROWS = 100_000
MAX_CACHED_COUNTS = 1_000


@dataclass(frozen=True, slots=True)
class Span:
    """The first and the last seq within the requested time. `high` grows with the log until the time's `end`; None if
    it has no end."""

    low: int
    high: int
    end: str | None = None


class CountCache:
    """The cached counts of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Any, ...], tuple[int, int]] = OrderedDict()

    def count(self, fetch: Fetch, where: Sequence[sa.ColumnElement[bool]], span: Span) -> int:
        """Count the matches within `span`, up to `MAX_COUNTED_ROWS` + 1. The same conditions and the same time continue
        their last count with the entries that came since."""
        key = (_render_conditions(where), span.low, span.end)
        with self._lock:
            counted, through = self._kept.get(key, (0, span.low - 1))
        if through < span.high and counted <= MAX_COUNTED_ROWS:
            newer = sa.select(AuditRow.seq).where(AuditRow.seq > through, AuditRow.seq <= span.high, *where)
            some = newer.limit(MAX_COUNTED_ROWS + 1 - counted).subquery()
            counted += fetch(sa.select(sa.func.count()).select_from(some))[0][0]
            self._store(key, (counted, span.high))
        return counted

    def _store(self, key: tuple[Any, ...], counted: tuple[int, int]) -> None:
        with self._lock:
            self._kept[key] = counted
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_CACHED_COUNTS:
                self._kept.popitem(last=False)


def _render_conditions(where: Sequence[sa.ColumnElement[bool]]) -> str:
    """The conditions as SQL with their values, which are equal if and only if the same entries match."""
    return str(sa.and_(*where).compile(compile_kwargs={"literal_binds": True}))
