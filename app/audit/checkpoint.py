"""Audit retention: a checkpoint entry in the chain says what may be deleted, and the triggers then allow it."""

import contextlib
import logging
import time
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain, head_file
from app.audit.models import AuditRow, Checkpoint
from app.db import count_changed, read, write
from app.infra.clock import utc_now, utc_text

log = logging.getLogger(__name__)

CHECKPOINT_ACTION = "audit-checkpoint"
# A worker deletes on its event loop, where this many rows take 2 ms. The command line serves nobody and takes more.
DELETE_BATCH_ROWS = 50
CLI_DELETE_BATCH_ROWS = 500
DELETE_PAUSE_S = 0.01
# Entries are kept this much longer than the retention, or every maintenance run would write a checkpoint.
CHECKPOINT_SLACK = timedelta(days=1)


class NothingToDelete(ValueError):
    """No entry is older than the given time, or the checkpoint is not needed yet."""


def apply_retention(retention_days: float, by: str) -> int:
    """Delete entries older than the retention, if enough are due; return how many. Safe to run on every worker."""
    cutoff = utc_now() - timedelta(days=retention_days)
    due = utc_text(cutoff - CHECKPOINT_SLACK)
    with read() as session:
        is_due = _has_uncovered_before(session, due)
    if is_due:
        # Another worker may have been first: `seal_before` checks again under the chain's lock.
        with contextlib.suppress(NothingToDelete):
            seal_before(utc_text(cutoff), by, due)
    return delete_covered()


def _has_uncovered_before(session: Session, moment: str) -> bool:
    covered = sa.select(sa.func.coalesce(sa.func.max(Checkpoint.through_seq), 0)).scalar_subquery()
    left = sa.select(AuditRow.timestamp).where(AuditRow.seq > covered).order_by(AuditRow.seq).limit(1)
    oldest = session.scalar(left)
    return oldest is not None and oldest < moment


def seal_before(moment: str, by: str, due: str | None = None) -> Checkpoint:
    """Write a checkpoint of all entries before `moment`; with `due`, only if an entry before `due` is uncovered.

    Raises `NothingToDelete`.
    """
    with write() as session:
        chain.lock(session)
        before = sa.select(AuditRow.seq, AuditRow.hash).where(AuditRow.timestamp < moment)
        through = session.execute(
            before.order_by(AuditRow.timestamp.desc(), AuditRow.seq.desc()).limit(1)
        ).one_or_none()
        first = session.scalar(sa.select(sa.func.min(AuditRow.seq)))
        if through is None or first is None or (due is not None and not _has_uncovered_before(session, due)):
            raise NothingToDelete(f"no audit entry is older than {moment}")
        covered = {"throughSeq": through.seq, "throughHash": through.hash, "entries": through.seq - first + 1}
        key = chain.record(session, chain.Entry(by, CHECKPOINT_ACTION, "audit", params=covered))
        row = session.get(AuditRow, key)
        assert row is not None  # noqa: S101 -- it was written just now
        made = Checkpoint(seq=row.seq, through_seq=through.seq, through_hash=through.hash)
        session.add(made)
        session.flush()
    log.info("audit checkpoint seq=%s through=%s hash=%s", made.seq, made.through_seq, made.through_hash)
    log_head()
    # Before deleting: a kept head that a checkpoint covers can no longer be compared with the log.
    head_file.current_keeper().update()
    return made


def delete_covered(at_once: int | None = None) -> int:
    """Delete the entries that a checkpoint covers, oldest first, in small batches; an interrupted run can resume."""
    gone = 0
    while step := _delete_batch(at_once or DELETE_BATCH_ROWS):
        gone += step
        time.sleep(DELETE_PAUSE_S)
    return gone


def log_head() -> None:
    """Write the head to the log file, which is stored elsewhere: it outlives a removal of the chain's tail."""
    with read() as session:
        head = chain.read_head(session)
    if head.seq:
        log.info("audit head seq=%s hash=%s", head.seq, head.hash)


def _delete_batch(at_once: int) -> int:
    with read() as session:
        through = session.scalar(sa.select(sa.func.max(Checkpoint.through_seq)))
        oldest = session.scalar(sa.select(sa.func.min(AuditRow.seq)))
    if through is None or oldest is None or oldest > through:
        return 0
    with write() as session:
        last = min(through, oldest + at_once - 1)
        return count_changed(session, sa.delete(AuditRow).where(AuditRow.seq <= last))
