"""Finds where verification starts: at the first entry, or after the entries that a checkpoint let delete.

The checkpoint table is no proof, because somebody who can delete entries can also write to it. So each checkpoint must
also be an entry of the chain, with the same content.
"""

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.audit.chain import GENESIS_HASH
from app.audit.checkpoint import CHECKPOINT_ACTION
from app.audit.models import AuditRow, Checkpoint
from app.audit.reader_pool import Fetch


@dataclass(slots=True)
class Anchor:
    """Entries through `deleted_through` were deleted under `checkpoint_seq`; the first one left seals `hash`.

    `checkpoint_hashes`: for each entry that a checkpoint names, the hash that it must have. `pending`: checkpoints that
    were not yet met as entries of the chain, and what those entries must say.
    """

    deleted_through: int
    hash: str
    checkpoint_seq: int
    last: int
    checkpoint_hashes: dict[int, str]
    pending: dict[int, tuple[int, str]]

    def check_checkpoints(self, fetch: Fetch, through: int, *, at_end: bool) -> str | None:
        """Check the checkpoints up to the verified entry `through`; return what is wrong, or None."""
        for seq in sorted(self.pending):
            if seq > through and not at_end:
                return None
            wanted = self.pending.pop(seq)
            found = fetch(sa.select(AuditRow.action_type, AuditRow.command_params_json).where(AuditRow.seq == seq))
            if not any(action == CHECKPOINT_ACTION and _parse_checkpoint(params) == wanted for action, params in found):
                return f"the checkpoint {seq} is not in the chain"
        return None


def find_anchor(fetch: Fetch, first: tuple[int, str] | None, read: int) -> Anchor | str:
    """The anchor for reading on at the entry `first` (seq, prev_hash) after the entry `read`, or what is wrong."""
    select = sa.select(Checkpoint.seq, Checkpoint.through_seq, Checkpoint.through_hash).order_by(Checkpoint.seq)
    checkpoints = fetch(select)
    [(oldest, last)] = fetch(sa.select(sa.func.min(AuditRow.seq), sa.func.max(AuditRow.seq)))
    if oldest is not None and oldest < 1:
        return f"seq {oldest} is before the first entry"
    if first is None:
        return (
            "there are checkpoints, but no entries" if checkpoints else _make_anchor([], 0, GENESIS_HASH, 0, last or 0)
        )
    seq, prev_hash = first
    if seq == read + 1 or seq != oldest:
        # Nothing was deleted, or entries are missing in between, which the reading itself reports.
        return _make_anchor(checkpoints, read, GENESIS_HASH, 0, last)
    covering = [one for one in checkpoints if one[1] >= seq - 1 and one[0] >= seq]
    if not covering:
        return f"seq {seq} is the first entry and no checkpoint covers those before it"
    if any(through == seq - 1 and hash_ != prev_hash for _, through, hash_ in covering):
        return f"seq {seq} does not follow the hash that its checkpoint names"
    return _make_anchor(checkpoints, seq - 1, prev_hash, covering[0][0], last)


def _make_anchor(checkpoints: list[tuple[Any, ...]], since: int, hash_: str, under: int, last: int) -> Anchor:
    checkpoint_hashes = {through: sealed for _, through, sealed in checkpoints}
    pending = {seq: (through, sealed) for seq, through, sealed in checkpoints if seq > since}
    return Anchor(since, hash_, under, last, checkpoint_hashes, pending)


def _parse_checkpoint(params: Any) -> tuple[Any, Any] | None:
    try:
        said = json.loads(params)
    except (TypeError, ValueError, RecursionError):
        return None
    return (said.get("throughSeq"), said.get("throughHash")) if isinstance(said, dict) else None
