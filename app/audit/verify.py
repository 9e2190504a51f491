"""Verifies the whole chain: the hash of each entry, its link to the one before, and that the tail is there.

The database builds the canonical text and hashlib hashes it, both in C; Python only compares lists.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from operator import methodcaller
from typing import Any, cast

import sqlalchemy as sa

from app.audit import canonical_sql, head_file, reader_pool, verification_start
from app.audit.chain import GENESIS_HASH
from app.audit.models import AuditRow
from app.db import db
from app.infra.concurrency import yield_to_loop

PAGE_ROWS = 5_000
PAGE_BYTES = 8_388_608
# For PostgreSQL, whose rows are decoded on the event loop.
PAGE_ROWS_ON_LOOP = 500
PAGE_BYTES_ON_LOOP = 1_048_576
_hex = methodcaller("hexdigest")


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The number of valid entries, the seq and hash of the last one, and what is wrong with the first invalid one.

    `deleted_through`: entries through this seq were deleted under a checkpoint. `inconclusive`: why the valid chain
    could not be compared with an expected head.
    """

    count: int
    head: str
    broken: str | None = None
    seq: int = 0
    deleted_through: int = 0
    inconclusive: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectedHead:
    """A head from outside the database that the chain must contain; without `seq`, anywhere.

    `description` is set for the head that Beacon itself kept, and "" for one that a person has from an export.
    """

    hash: str
    seq: int | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class OutsideHead:
    """The head that this host keeps, with which the chain is always compared.

    `description` says which head it is, or what its absence means; `error`, why it cannot be read.
    """

    expected: ExpectedHead | None
    description: str
    error: str | None = None


def read_outside_head() -> OutsideHead:
    """Read the head that this host keeps. Needs an app context."""
    try:
        kept = head_file.current_keeper().read_kept()
    except head_file.HeadFileError as error:
        return OutsideHead(None, "against no outside head", f"the head kept by this host: {error}")
    if kept is None:
        return OutsideHead(None, "no outside head: this shows only that the chain is consistent")
    return OutsideHead(ExpectedHead(kept.hash, kept.seq, kept.description), f"against {kept.description}")


Progress = Callable[[int, int], None]
"""Called with the number of entries read and the total."""


def verify(
    progress: Progress = lambda _done, _all: None,
    expected: ExpectedHead | None = None,
    kept: ExpectedHead | None = None,
) -> VerificationResult:
    """Run `verify_in_steps` to its end."""
    reading = verify_in_steps(*(one for one in (expected, kept) if one is not None))
    while True:
        try:
            progress(*next(reading))
        except StopIteration as end:
            return cast(VerificationResult, end.value)


def verify_in_steps(*expected: ExpectedHead) -> Generator[tuple[int, int], None, VerificationResult]:
    """Read the chain from its start or its checkpoint to its end or the first invalid entry. Yields the progress.

    Each page is one short read, so that the write-ahead log does not grow behind a long one. Entries that are appended
    during the run are read too, and entries that retention deletes during the run are not reported as missing. Needs
    an app context.
    """
    reading = _ChainReader(*expected)
    while True:
        found, broken = reader_pool.run_read(reading.read_page, waits=True)
        if broken or not found:
            return reading.outcome(broken)
        yield reading.count, max(reading.last - reading.deleted_through, reading.count)
        yield_to_loop()


class _ChainReader:
    """The position of one verification, and the heads that it has not met yet."""

    def __init__(self, *expected: ExpectedHead) -> None:
        self._unmet = set(expected)
        self._dialect = db.engine.dialect.name
        on_thread = self._dialect == "sqlite"
        self._size = PAGE_ROWS if on_thread else PAGE_ROWS_ON_LOOP
        self._bytes = PAGE_BYTES if on_thread else PAGE_BYTES_ON_LOOP
        self._anchor: verification_start.Anchor | None = None
        self.count, self._seq, self._hash = 0, 0, GENESIS_HASH
        self.last = self.deleted_through = 0
        self._mark_met((0, GENESIS_HASH))

    def read_page(self, fetch: reader_pool.Fetch) -> tuple[int, str | None]:
        """Verify the next page; return its number of entries and what is wrong with the first invalid one."""
        rows = fetch(
            canonical_sql.select_page(self._seq, self._size, self._dialect),
            reader_pool.ByteBudget(self._bytes, lambda row: len(row[-1])),
        )
        if self._anchor is None or (rows and rows[0][0] != self._seq + 1):
            wrong = self._set_anchor(fetch, rows)
            if wrong:
                return 0, wrong
        broken = self._check_rows(fetch, rows) if rows else None
        if broken is None and self._anchor is not None:
            broken = self._anchor.check_checkpoints(fetch, self._seq, at_end=not rows)
        return len(rows), broken

    def outcome(self, broken: str | None) -> VerificationResult:
        inconclusive = None
        for expected in sorted(self._unmet, key=lambda one: one.description):
            if broken:
                break
            broken, why = self._explain_missing(expected)
            inconclusive = inconclusive or why
        return VerificationResult(self.count, self._hash, broken, self._seq, self.deleted_through, inconclusive)

    def _mark_met(self, *heads: tuple[int, str]) -> None:
        """Remove the expected heads that are among `heads`."""
        if self._unmet:
            seqs, hashes = dict(heads), {hash_ for _, hash_ in heads}
            self._unmet = {
                one
                for one in self._unmet
                if (one.hash not in hashes if one.seq is None else seqs.get(one.seq) != one.hash)
            }

    def _set_anchor(self, fetch: reader_pool.Fetch, rows: reader_pool.Rows) -> str | None:
        """Find the anchor: at the first page, and again if retention deleted entries before the next page."""
        first = (rows[0][0], rows[0][1]) if rows else None
        found = verification_start.find_anchor(fetch, first, self._seq)
        if isinstance(found, str):
            return found
        if self._anchor is None:
            self.last = found.last
        self._anchor = found
        if found.deleted_through > self._seq:
            self.deleted_through = self._seq = found.deleted_through
            self._hash = found.hash
            self._mark_met((self._seq, self._hash))
        return None

    def _check_rows(self, fetch: reader_pool.Fetch, rows: reader_pool.Rows) -> str | None:
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
            good, why = next(_find_broken((self._seq, self._hash), seqs, prevs, hashes, sealed, sound))
        checkpoint_hashes = self._anchor.checkpoint_hashes if self._anchor else {}
        for seq in sorted(checkpoint_hashes.keys() & set(seqs[:good])):
            if hashes[seq - self._seq - 1] != checkpoint_hashes[seq]:
                good, why = seq - self._seq - 1, "its hash is not the one that a checkpoint names"
                break
        broken = None if why is None else f"entry {_read_entry_id(fetch, self._seq, good)} (seq {seqs[good]}): {why}"
        self._mark_met(*zip(seqs[:good], hashes, strict=False))
        if good:
            self.count, self._seq, self._hash = self.count + good, seqs[good - 1], hashes[good - 1]
        return broken

    def _explain_missing(self, expected: ExpectedHead) -> tuple[str | None, str | None]:
        """For a head that was not met: what is broken, or why this cannot be decided."""
        if expected.description:
            return self._explain_missing_kept(expected)
        tail = f"its tail, which ends at seq {self._seq}, was removed"
        went = self._describe_deleted()
        if expected.seq is None:
            if self.deleted_through:
                return None, f"the head {expected.hash} is not in the chain: it is older than that ({went}), or {tail}"
            return f"the head {expected.hash} is not in the chain: {tail}", None
        if expected.seq < self.deleted_through:
            return None, f"the head at seq {expected.seq} is too old to compare with this chain: {went}"
        if self._seq >= expected.seq:
            return f"seq {expected.seq} has another hash than {expected.hash}: the chain was rebuilt", None
        return f"the head {expected.hash} at seq {expected.seq} is not in the chain: {tail}", None

    def _explain_missing_kept(self, expected: ExpectedHead) -> tuple[str | None, str | None]:
        kept = expected.description
        if (expected.seq or 0) < self.deleted_through:
            return None, f"{kept} is older than the entries that retention kept: {self._describe_deleted()}"
        if self._seq < (expected.seq or 0):
            ends = f"which ends at seq {self._seq}"
            return f"{kept} is newer than the log, {ends}: the log was restored or truncated", None
        return f"{kept} has another hash in the log: the log was rebuilt, or restored and continued", None

    def _describe_deleted(self) -> str:
        checkpoint_seq = self._anchor.checkpoint_seq if self._anchor else 0
        return f"entries through {self.deleted_through} were deleted under checkpoint {checkpoint_seq}"


def _read_entry_id(fetch: reader_pool.Fetch, after: int, place: int) -> Any:
    """The id of the entry at index `place` of a page. Only read for an invalid entry, because text is slow to fetch."""
    page = sa.select(AuditRow.id).where(AuditRow.seq > after).order_by(AuditRow.seq)
    return fetch(page.offset(place).limit(1))[0][0]


def _find_broken(place: tuple[int, str], seqs: Any, prevs: Any, hashes: Any, sealed: Any, sound: Any) -> Any:
    """Yield the index of each invalid entry after `place`, and what is wrong with it."""
    before = [place, *zip(seqs, hashes, strict=True)]
    for index, ((seq, hash_), _) in enumerate(pairwise(before)):
        if seqs[index] != seq + 1:
            yield index, f"expected seq {seq + 1}: an entry is missing before it"
        elif prevs[index] != hash_:
            yield index, "does not match the hash of the entry before it"
        elif sealed[index] != hashes[index] or not sound[index]:
            yield index, "its content does not match its hash"
