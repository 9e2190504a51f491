"""Which configuration each worker holds: rows that expire, so that a killed worker is not waited for."""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db import DatabaseUnavailable, now_epoch, write
from app.rollout import configuration
from app.rollout.configuration import Flag, Nominal
from app.rollout.flags import Flags
from app.rollout.kept import SOURCE
from app.rollout.models import HeldRow, KeptRow
from app.rollout.provider import provider

EXPIRE_S = 15.0
RENEW_EVERY_S = 5.0
DEAD_S = 60.0


@dataclass(frozen=True, slots=True)
class Holding:
    """Of `total` workers that run, those that hold what was asked about. `since`: when Unleash's conditions, which no
    percentage says, were taken down last."""

    holding: int
    total: int
    since: str | None = None


class Reporter:
    """A part of a worker's live half; `report` is called about once a second and after every load."""

    def __init__(self, app: Flask, flags: Flags) -> None:
        self._app, self._flags = app, flags
        self._worker = ""
        self._said: str | None = None
        self._said_at = 0.0
        self._lock = threading.Lock()

    def start(self) -> None:
        # Named here and not when built, because a server may build before it forks.
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"

    def stop(self) -> None:
        with self._lock:
            worker, self._worker = self._worker, ""
            # Where the database is away, its row expires.
            with contextlib.suppress(SQLAlchemyError, DatabaseUnavailable):
                if self._said is not None:
                    with self._app.app_context(), write() as session:
                        session.execute(sa.delete(HeldRow).where(HeldRow.worker == worker))

    def report(self) -> None:
        """Raises the database's error; the next turn says it again."""
        with self._lock:
            text, now = self._flags.held, time.monotonic()
            if not self._worker or text is None or (text == self._said and now < self._said_at + RENEW_EVERY_S):
                return
            with self._app.app_context(), write() as session:
                self._say(session, text)
            self._said, self._said_at = text, now

    def _say(self, session: Session, text: str) -> None:
        words = {flag.value: configuration.nominal(text, flag).words for flag in Flag}
        seen = session.scalar(sa.select(now_epoch())) or 0.0
        session.merge(
            HeldRow(worker=self._worker, version=configuration.version(text), nominal_json=json.dumps(words), seen=seen)
        )
        session.execute(sa.delete(HeldRow).where(HeldRow.seen < now_epoch() - DEAD_S))


def holding(session: Session, flag: Flag, wanted: Nominal) -> Holding | None:
    """None where no worker has said anything. With Unleash the same percentage is not enough: constraints, parents and
    segments count."""
    alive = HeldRow.seen.between(now_epoch() - EXPIRE_S, now_epoch() + EXPIRE_S)
    rows = session.execute(sa.select(HeldRow.nominal_json, HeldRow.version).where(alive)).all()
    if not rows:
        return None
    kept = session.get(KeptRow, SOURCE) if provider().mode == "unleash" else None
    holds = [
        json.loads(row.nominal_json).get(flag) == wanted.words and (kept is None or row.version == kept.version)
        for row in rows
    ]
    return Holding(sum(holds), len(rows), None if kept is None else kept.kept_at)
