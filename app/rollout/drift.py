"""Compares expected and actual streamers: which online users should stream, and which do.

Users follow a flag change with a delay, and tabs open and close, so only a lasting difference counts. The rule is pure.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from flask import Flask

from app.components import components
from app.db import now_epoch, read
from app.flags import document
from app.flags.document import Flag, Rollout
from app.flags.evaluation import Flags
from app.flags.models import PollingRow
from app.flags.worker_state import WorkerAgreement
from app.infra.clock import parse_utc, utc_now
from app.infra.concurrency import iterate_in_slices
from app.rollout.online_users import OnlineUsers, load_polling_programs, load_polling_users

DRIFT_CHECK_EVERY_S = 10.0
DRIFT_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class OnlineSnapshot:
    """The users online at `at` (seconds since 1970): who streams, when pages polled last, and whom the flag lets in.
    `programs` poll with a token and are online too, but are not expected to stream."""

    at: float
    streaming: frozenset[str]
    polled: Mapping[str, float]
    inside: frozenset[str]
    programs: frozenset[str] = frozenset()

    @property
    def online(self) -> frozenset[str]:
        return self.streaming | self.polled.keys() | self.programs

    @property
    def misplaced(self) -> Mapping[str, float]:
        """The users who are not in the cohort that the flag assigns, and when they were last seen. For a user who
        polled and left, that time stands still, so the difference does not last."""
        streams = dict.fromkeys(self.streaming - self.inside, self.at)
        return streams | {user: at for user, at in self.polled.items() if user in self.inside - self.streaming}


@dataclass(frozen=True, slots=True)
class Drift:
    """The number of users online, let in by the flag, and streaming. For longer than `DRIFT_AFTER_S`, `not_yet` should
    stream but poll, and `still` should not stream but do."""

    online: int
    expected: int
    actual: int
    not_yet: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    streams_outside: int = 0

    @property
    def differs(self) -> bool:
        return bool(self.not_yet or self.still)


@dataclass(slots=True)
class MisplacedSince:
    """Since when each user is misplaced. Reset when the expected configuration changes."""

    claimed: str | None = None
    seen: dict[str, float] = field(default_factory=dict)

    def update(self, snapshot: OnlineSnapshot, claimed: str | None) -> None:
        before = self.seen if claimed == self.claimed else {}
        self.claimed, self.seen = claimed, {user: before.get(user, snapshot.at) for user in snapshot.misplaced}


def compute_drift(snapshot: OnlineSnapshot, since: Mapping[str, float]) -> Drift:
    """`since` is when each misplaced user was first seen as such. Pure."""
    misplaced = snapshot.misplaced
    lasting = sorted(user for user, at in misplaced.items() if at - since.get(user, snapshot.at) > DRIFT_AFTER_S)
    return Drift(
        len(snapshot.online),
        len(snapshot.inside),
        len(snapshot.streaming),
        tuple(user for user in lasting if user in snapshot.inside),
        tuple(user for user in lasting if user not in snapshot.inside),
        len(snapshot.streaming - snapshot.inside),
    )


def is_lagging(found: WorkerAgreement | None, changed_at: str | None, now: datetime | None = None) -> bool:
    """True if running workers still use a state older than the change at `changed_at`, for longer than allowed. Pure.

    Stopped workers do not count, so such a worker runs but does not follow.
    """
    if found is None or changed_at is None or found.holding == found.total:
        return False
    last = max(parse_utc(at) for at in (changed_at, found.since) if at is not None)
    return ((now or utc_now()) - last).total_seconds() > DRIFT_AFTER_S


class DriftTracker:
    """The tracker of one worker. `update` is called every `DRIFT_CHECK_EVERY_S`, `measure` to show the drift. Both
    raise the database's error.

    Expected streamers come from the deployment's configuration (`claimed`), which this worker may not have loaded yet.
    """

    def __init__(
        self, app: Flask, flags: Flags, online: OnlineUsers, claimed: Callable[[], Mapping[str, Rollout] | str | None]
    ) -> None:
        self._app, self._flags, self._online, self._claimed = app, flags, online, claimed
        self._since = MisplacedSince()
        self._lock = threading.Lock()

    def update(self) -> None:
        """Measure regularly, so that the age of a difference is known when somebody opens the page."""
        self.measure()

    def measure(self) -> Drift:
        return self.measure_people()[1]

    def measure_people(self) -> tuple[OnlineSnapshot, Drift]:
        """The drift, and the people of whom it consists."""
        with self._app.app_context(), read() as session:
            at = session.scalar(sa.select(now_epoch())) or 0.0
            streaming, pages = (
                frozenset(self._online.list_streaming(session)),
                load_polling_users(session, PollingRow.seen),
            )
            others = frozenset(load_polling_programs(session))
        claimed = self._claimed()
        text = claimed if claimed is None or isinstance(claimed, str) else document.serialize_rollouts(claimed)
        is_let_in = self._flags.evaluator_for(text)
        people = streaming | pages.keys() | others
        inside = frozenset(user for user in iterate_in_slices(people) if is_let_in(Flag.SSE_STREAMING, user))
        snapshot = OnlineSnapshot(at, streaming, pages, inside, others)
        with self._lock:
            self._since.update(snapshot, text)
            return snapshot, compute_drift(snapshot, self._since.seen)


def drift_tracker() -> DriftTracker:
    """The drift tracker of the current application."""
    return components().drift
