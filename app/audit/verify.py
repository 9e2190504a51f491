"""Reads the whole chain: does each entry hold, does it seal the one before, is its tail still there.

The database puts the sealed text together and hashlib hashes it, both in C: Python compares lists.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from operator import methodcaller
from typing import Any

import sqlalchemy as sa

from app.audit import raw, sealed_text
from app.audit.chain import FIRST
from app.audit.models import AuditRow, Checkpoint
from app.db import db
from app.offloop import breathe

PAGE = 5_000
# Of PostgreSQL, whose rows are taken apart on the event loop.
PAGE_ON_LOOP = 500
_hex = methodcaller("hexdigest")


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome: how many entries hold, the last of them and its hash, the first that does not hold and why.

    `since`: entries through this one have gone under a checkpoint.
    """

    count: int
    head: str
    broken: str | None = None
    seq: int = 0
    since: int = 0


@dataclass(frozen=True, slots=True)
class Expected:
    """A head from an earlier export, which the chain must still pass through. Without `seq` it may lie anywhere."""

    hash: str
    seq: int | None = None


@dataclass(slots=True)
class _Place:
    """How far the reading has come."""

    count: int
    seq: int
    hash: str
    met: bool = False


Progress = Callable[[int, int], None]
"""How many entries were read, of how many."""


def verify(progress: Progress = lambda _done, _all: None, expected: Expected | None = None) -> Verified:
    """`steps` to their end."""
    reading = steps(expected)
    while True:
        try:
            progress(*next(reading))
        except StopIteration as end:
            found: Verified = end.value
            return found


def steps(expected: Expected | None = None) -> Generator[tuple[int, int], None, Verified]:
    """Read the chain from its start, or from its checkpoint, to its end or to the first entry that does not hold.

    Page by page: each is one look, so that no writer's log grows behind a long one. What is appended meanwhile is
    read too. Needs an app context.
    """
    first, last, checkpoints = raw.look(_ends)
    place, since, wrong = _begin(first, checkpoints, expected)
    if wrong:
        return Verified(0, place.hash, wrong, place.seq, since)
    through = {checkpoint[1]: checkpoint[2] for checkpoint in checkpoints}
    size = PAGE if db.engine.dialect.name == "sqlite" else PAGE_ON_LOOP

    def read_on(fetch: raw.Fetch) -> tuple[int, str | None]:
        rows = fetch(sealed_text.page(place.seq, size))
        return len(rows), _read(rows, place, through, expected)

    while True:
        found, broken = raw.look(read_on)
        if broken:
            return Verified(place.count, place.hash, broken, place.seq, since)
        yield place.count, max(last - since, place.count)
        if found < size:
            break
        breathe()
    return Verified(place.count, place.hash, _missing(place, expected), place.seq, since)


def _ends(fetch: raw.Fetch) -> tuple[tuple[Any, ...] | None, int, raw.Rows]:
    first = fetch(sa.select(AuditRow.seq, AuditRow.prev_hash).order_by(AuditRow.seq).limit(1))
    [(last,)] = fetch(sa.select(sa.func.coalesce(sa.func.max(AuditRow.seq), 0)))
    named = sa.select(Checkpoint.seq, Checkpoint.through_seq, Checkpoint.through_hash)
    return (first[0] if first else None), last, fetch(named.order_by(Checkpoint.seq))


def _begin(
    first: tuple[Any, ...] | None, checkpoints: Sequence[tuple[Any, ...]], expected: Expected | None
) -> tuple[_Place, int, str | None]:
    """Where the reading begins. Entries may be gone only under a checkpoint, and then its hash must be met."""
    if first is None:
        wrong = "the checkpoints name entries, and there is none" if checkpoints else None
        return _Place(0, 0, FIRST, met=expected is not None and expected.hash == FIRST), 0, wrong
    seq, prev_hash = first
    if seq == 1:
        return _Place(0, 0, FIRST, met=expected is not None and expected.hash == FIRST), 0, None
    before = seq - 1
    covering = [checkpoint for checkpoint in checkpoints if checkpoint[1] >= before]
    if not covering:
        return _Place(0, 0, FIRST), 0, f"seq {seq} is the first entry and no checkpoint covers those before it"
    if any(through == before and hash_ != prev_hash for _, through, hash_ in covering):
        return _Place(0, before, prev_hash), before, f"seq {seq} does not seal what its checkpoint names"
    return _Place(0, before, prev_hash, met=_is(expected, before, prev_hash)), before, None


def _read(rows: raw.Rows, place: _Place, through: dict[int, str], expected: Expected | None) -> str | None:
    """Take one page in; what is wrong with its first entry that does not hold."""
    if not rows:
        return None
    keys, seqs, prevs, hashes, sound, texts = zip(*rows, strict=True)
    sealed = list(map(_hex, map(sha256, texts)))
    whole = (
        seqs == tuple(range(place.seq + 1, place.seq + 1 + len(rows)))
        and prevs == (place.hash, *hashes[:-1])
        and list(hashes) == sealed
        and all(sound)
    )
    good = len(rows)
    broken = None
    if not whole:
        good, why = next(_wrong(place, seqs, prevs, hashes, sealed, sound))
        broken = f"entry {keys[good]} (seq {seqs[good]}): {why}"
    for seq in through.keys() & set(seqs[:good]):
        if hashes[seq - place.seq - 1] != through[seq] and broken is None:
            good, broken = (
                seq - place.seq - 1,
                f"entry {keys[seq - place.seq - 1]} (seq {seq}): not what a checkpoint names",
            )
    if expected is not None:
        place.met = place.met or any(_is(expected, seq, hash_) for seq, hash_ in zip(seqs[:good], hashes, strict=False))
    if good:
        place.count, place.seq, place.hash = place.count + good, seqs[good - 1], hashes[good - 1]
    return broken


def _wrong(place: _Place, seqs: Any, prevs: Any, hashes: Any, sealed: Any, sound: Any) -> Any:
    """Each entry that does not hold, and why."""
    before = [(place.seq, place.hash), *zip(seqs, hashes, strict=True)]
    for index, ((seq, hash_), _) in enumerate(pairwise(before)):
        if seqs[index] != seq + 1:
            yield index, f"expected seq {seq + 1}: an entry is missing before it"
        elif prevs[index] != hash_:
            yield index, "does not seal the entry before it"
        elif sealed[index] != hashes[index] or not sound[index]:
            yield index, "its content is not what was sealed"


def _is(expected: Expected | None, seq: int, hash_: str) -> bool:
    return expected is not None and hash_ == expected.hash and expected.seq in (None, seq)


def _missing(place: _Place, expected: Expected | None) -> str | None:
    if expected is None or place.met:
        return None
    if expected.seq is not None and place.seq >= expected.seq:
        return f"seq {expected.seq} has another hash than {expected.hash}: the chain was made anew"
    where = f" at seq {expected.seq}" if expected.seq is not None else ""
    return f"the head {expected.hash}{where} is not in the chain: its tail, which ends at seq {place.seq}, was removed"
