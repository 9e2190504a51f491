"""Records which configuration each worker has loaded. Rows expire, so a killed worker is not waited for."""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import DatabaseUnavailable, now_epoch, write
from app.flags import document
from app.flags.document import ConfiguredState, Flag
from app.flags.evaluation import Flags
from app.flags.models import SnapshotRow, WorkerStateRow
from app.flags.provider import current_provider
from app.flags.unleash.snapshot_store import SNAPSHOT_SOURCE, load_in_force

WORKER_EXPIRY_S = 15.0
WORKER_RENEW_EVERY_S = 5.0
DEAD_ROW_AGE_S = 60.0
# Beside the flags in a worker's state: seconds by which its host's clock is ahead of the database's.
CLOCK_KEY = "clock_ahead_s"


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """A state that `workers` workers have loaded. It applies to their users, whatever has been written since."""

    enabled: bool
    percentage: float | None
    workers: int


@dataclass(frozen=True, slots=True)
class WorkerAgreement:
    """How many of the `total` running workers have loaded the wanted state. `since`: when Beacon last stored a new
    version of Unleash's configuration. `in_force`: the states that are loaded, the most common first."""

    holding: int
    total: int
    since: str | None = None
    in_force: Sequence[WorkerGroup] = field(default=(), compare=False)

    @property
    def is_complete(self) -> bool:
        return self.holding == self.total

    @property
    def lets_anyone_in(self) -> bool:
        """True if at least one worker still lets somebody in."""
        return any(one.enabled and one.percentage != 0 for one in self.in_force)


class WorkerStateReporter:
    """Writes this worker's row. A background service; `report` is called about once a second and after every load."""

    def __init__(self, app: Flask, flags: Flags) -> None:
        self._app, self._flags = app, flags
        self._worker = ""
        self._reported: str | None = None
        self._reported_at = 0.0
        self._lock = threading.Lock()

    def start(self) -> None:
        # The name is set here and not in the constructor, because a server may fork after it builds the app.
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def stop(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, ""
            # If the database is unavailable, the row expires.
            with contextlib.suppress(SQLAlchemyError, DatabaseUnavailable):
                if self._reported is not None:
                    with self._app.app_context(), write() as session:
                        session.execute(sa.delete(WorkerStateRow).where(WorkerStateRow.worker == worker))

    def report(self) -> None:
        """Raises the database's error; the next call tries again."""
        with self._lock:
            text, now = self._flags.configuration, time.monotonic()
            if (
                not self._worker
                or text is None
                or (text == self._reported and now < self._reported_at + WORKER_RENEW_EVERY_S)
            ):
                return
            with self._app.app_context(), write() as session:
                self._write_row(session, text)
            self._reported, self._reported_at = text, now

    def _write_row(self, session: Session, text: str) -> None:
        states: dict[str, object] = {flag.value: asdict(document.read_state(text, flag)) for flag in Flag}
        seen = session.scalar(sa.select(now_epoch())) or 0.0
        states[CLOCK_KEY] = round(time.time() - seen, 2)
        session.merge(
            WorkerStateRow(
                worker=self._worker, version=document.compute_version(text), nominal_json=json.dumps(states), seen=seen
            )
        )
        session.execute(sa.delete(WorkerStateRow).where(WorkerStateRow.seen < now_epoch() - DEAD_ROW_AGE_S))


def load_worker_agreement(session: Session, flag: Flag, wanted: ConfiguredState) -> WorkerAgreement | None:
    """None if no worker has reported. With Unleash the whole configuration is compared, because constraints, parents
    and segments matter too."""
    alive = WorkerStateRow.seen.between(now_epoch() - WORKER_EXPIRY_S, now_epoch() + WORKER_EXPIRY_S)
    rows = session.execute(sa.select(WorkerStateRow.nominal_json, WorkerStateRow.version).where(alive)).all()
    if not rows:
        return None
    is_unleash = current_provider().mode == "unleash"
    kept_at = (
        session.scalar(sa.select(SnapshotRow.kept_at).where(SnapshotRow.source == SNAPSHOT_SOURCE))
        if is_unleash
        else None
    )
    text = load_in_force(session) if is_unleash else None
    version = None if text is None else document.compute_version(text)
    states = [_parse_state(json.loads(row.nominal_json).get(flag)) for row in rows]
    holds = [
        state.summary == wanted.summary and version in (None, row.version)
        for state, row in zip(states, rows, strict=True)
    ]
    groups = Counter((state.enabled, state.percentage) for state in states).most_common()
    return WorkerAgreement(sum(holds), len(rows), kept_at, [WorkerGroup(*group, workers) for group, workers in groups])


def _parse_state(stored: object) -> ConfiguredState:
    """Unknown for a worker of an earlier version, which stores a sentence instead of the state."""
    return ConfiguredState(**stored) if isinstance(stored, dict) else ConfiguredState(True, None, "unknown")
