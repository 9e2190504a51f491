"""Reads the whole chain: does each entry hold, does it seal the one before, is its tail still there.

The database puts the sealed text together and hashlib hashes it, both in C: Python compares lists.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from operator import methodcaller
from typing import Any

import sqlalchemy as sa

from app.audit import canonical_sql, head_file, reader_pool, verification_start
from app.audit.chain import FIRST
from app.audit.models import AuditRow
from app.db import db
from app.infra.concurrency import yield_to_loop

PAGE = 5_000
PAGE_BYTES = 8_388_608
# Of PostgreSQL, whose rows are taken apart on the event loop.
PAGE_ON_LOOP = 500
BYTES_ON_LOOP = 1_048_576
_hex = methodcaller("hexdigest")


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome: how many entries hold, the last of them and its hash, the first that does not hold and why.

    `since`: entries through this one have gone under a checkpoint. `untold`: why the chain, which holds by itself,
    could not be held against the head that was expected.
    """

    count: int
    head: str
    broken: str | None = None
    seq: int = 0
    since: int = 0
    untold: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """A head from outside, which the chain must still pass through. Without `seq` it may lie anywhere.

    `kept`: what is said of one that Beacon kept by itself; "" of one that somebody has from an export.
    """

    hash: str
    seq: int | None = None
    kept: str = ""


@dataclass(frozen=True, slots=True)
class Outside:
    """What the chain is held against without being asked: the head that this host keeps. `words` says which one, or
    what that means where there is none; `trouble`, why it cannot be read."""

    expected: Expected | None
    words: str
    trouble: str | None = None


def outside() -> Outside:
    """Needs an app context."""
    try:
        kept = head_file.keeper().kept()
    except head_file.Unreadable as error:
        return Outside(None, "against no outside head", f"the head that this host keeps: {error}")
    if kept is None:
        return Outside(None, "no outside head: this shows only that the chain is whole")
    return Outside(Expected(kept.hash, kept.seq, kept.words), f"against {kept.words}")


Progress = Callable[[int, int], None]
"""How many entries were read, of how many."""


def verify(
    progress: Progress = lambda _done, _all: None, expected: Expected | None = None, kept: Expected | None = None
) -> Verified:
    """`steps` to their end."""
    reading = steps(*(one for one in (expected, kept) if one is not None))
    while True:
        try:
            progress(*next(reading))
        except StopIteration as end:
            found: Verified = end.value
            return found


def steps(*expected: Expected) -> Generator[tuple[int, int], None, Verified]:
    """Read the chain from its start, or from its checkpoint, to its end or to the first entry that does not hold.

    Page by page: each is one look, so that no writer's log grows behind a long one. What is appended meanwhile is
    read too, and what a checkpoint lets go meanwhile is not missed. Needs an app context.
    """
    reading = _Reading(*expected)
    while True:
        found, broken = reader_pool.look(reading.page, waits=True)
        if broken or not found:
            return reading.outcome(broken)
        yield reading.count, max(reading.last - reading.since, reading.count)
        yield_to_loop()


class _Reading:
    """How far it has come, and what it must meet yet."""

    def __init__(self, *expected: Expected) -> None:
        self._unmet = set(expected)
        self._size, self._bytes = PAGE, PAGE_BYTES
        if db.engine.dialect.name != "sqlite":
            self._size, self._bytes = PAGE_ON_LOOP, BYTES_ON_LOOP
        self._anchor: verification_start.Anchor | None = None
        self.count, self._seq, self._hash = 0, 0, FIRST
        self.last = self.since = 0
        self._meet((0, FIRST))

    def page(self, fetch: reader_pool.Fetch) -> tuple[int, str | None]:
        """Take the next page in: how many entries it had, and what is wrong with the first that does not hold."""
        rows = fetch(canonical_sql.page(self._seq, self._size), reader_pool.Budget(self._bytes, canonical_sql.weight))
        if self._anchor is None or (rows and rows[0][0] != self._seq + 1):
            wrong = self._begin(fetch, rows)
            if wrong:
                return 0, wrong
        broken = self._read(fetch, rows) if rows else None
        if broken is None and self._anchor is not None:
            broken = self._anchor.unmet(fetch, self._seq, at_end=not rows)
        return len(rows), broken

    def outcome(self, broken: str | None) -> Verified:
        untold = None
        for expected in sorted(self._unmet, key=lambda one: one.kept):
            if broken:
                break
            broken, why = self._missing(expected)
            untold = untold or why
        return Verified(self.count, self._hash, broken, self._seq, self.since, untold)

    def _meet(self, *heads: tuple[int, str]) -> None:
        """Take what is expected and was met off the list."""
        if self._unmet:
            seqs, hashes = dict(heads), {hash_ for _, hash_ in heads}
            self._unmet = {
                one
                for one in self._unmet
                if (one.hash not in hashes if one.seq is None else seqs.get(one.seq) != one.hash)
            }

    def _begin(self, fetch: reader_pool.Fetch, rows: reader_pool.Rows) -> str | None:
        """At the first page, and again where entries in front of the next one have gone since the page before."""
        first = (rows[0][0], rows[0][1]) if rows else None
        found = verification_start.find(fetch, first, self._seq)
        if isinstance(found, str):
            return found
        if self._anchor is None:
            self.last = found.last
        self._anchor = found
        if found.since > self._seq:
            self.since = self._seq = found.since
            self._hash = found.hash
            self._meet((self._seq, self._hash))
        return None

    def _read(self, fetch: reader_pool.Fetch, rows: reader_pool.Rows) -> str | None:
        seqs, prevs, hashes, sound, texts = zip(*rows, strict=True)
        sealed = list(map(_hex, map(sha256, texts)))
        whole = (
            seqs == tuple(range(self._seq + 1, self._seq + 1 + len(rows)))
            and prevs == (self._hash, *hashes[:-1])
            and list(hashes) == sealed
            and all(sound)
        )
        good, why = len(rows), None
        if not whole:
            good, why = next(_wrong((self._seq, self._hash), seqs, prevs, hashes, sealed, sound))
        named = self._anchor.named if self._anchor else {}
        for seq in sorted(named.keys() & set(seqs[:good])):
            if hashes[seq - self._seq - 1] != named[seq]:
                good, why = seq - self._seq - 1, "not what a checkpoint names"
                break
        broken = None if why is None else f"entry {_name(fetch, self._seq, good)} (seq {seqs[good]}): {why}"
        self._meet(*zip(seqs[:good], hashes, strict=False))
        if good:
            self.count, self._seq, self._hash = self.count + good, seqs[good - 1], hashes[good - 1]
        return broken

    def _missing(self, expected: Expected) -> tuple[str | None, str | None]:
        """Of a head that was not met: what is broken, or why nobody can tell."""
        if expected.kept:
            return self._missing_kept(expected)
        tail = f"its tail, which ends at seq {self._seq}, was removed"
        went = self._went()
        if expected.seq is None:
            if self.since:
                return None, f"the head {expected.hash} is not in the chain: it is older than that ({went}), or {tail}"
            return f"the head {expected.hash} is not in the chain: {tail}", None
        if expected.seq < self.since:
            return None, f"the head at seq {expected.seq} is too old to be held against this chain: {went}"
        if self._seq >= expected.seq:
            return f"seq {expected.seq} has another hash than {expected.hash}: the chain was made anew", None
        return f"the head {expected.hash} at seq {expected.seq} is not in the chain: {tail}", None

    def _missing_kept(self, expected: Expected) -> tuple[str | None, str | None]:
        if (expected.seq or 0) < self.since:
            return None, f"{expected.kept} is older than what retention left: {self._went()}"
        if self._seq < (expected.seq or 0):
            return f"{expected.kept} is newer than the log, which ends at seq {self._seq}: it was restored or cut", None
        return f"{expected.kept} has another hash in the log: it was made anew, or restored and written on", None

    def _went(self) -> str:
        return f"entries through {self.since} went under checkpoint {self._anchor.under if self._anchor else 0}"


def _name(fetch: reader_pool.Fetch, after: int, place: int) -> Any:
    """The id of the entry at that `place` of a page, whatever stands there for its seq. It is read for no other: every
    text that comes from SQLite has its price."""
    page = sa.select(AuditRow.id).where(AuditRow.seq > after).order_by(AuditRow.seq)
    return fetch(page.offset(place).limit(1))[0][0]


def _wrong(place: tuple[int, str], seqs: Any, prevs: Any, hashes: Any, sealed: Any, sound: Any) -> Any:
    """Each entry behind `place` that does not hold, and why."""
    before = [place, *zip(seqs, hashes, strict=True)]
    for index, ((seq, hash_), _) in enumerate(pairwise(before)):
        if seqs[index] != seq + 1:
            yield index, f"expected seq {seq + 1}: an entry is missing before it"
        elif prevs[index] != hash_:
            yield index, "does not seal the entry before it"
        elif sealed[index] != hashes[index] or not sound[index]:
            yield index, "its content is not what was sealed"
