"""The rollout reconciled like everything else: who of the people online should stream beside who does.

People move a moment after a flag does, and tabs come and go; so only a difference that lasts is one. The rule is pure.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from flask import Flask, current_app

from app.db import now_epoch, read
from app.flags import document
from app.flags.document import Flag, Rollout
from app.flags.evaluation import Flags
from app.flags.models import PollingRow
from app.flags.worker_state import Holding
from app.infra.clock import parse_utc, utc_now
from app.infra.concurrency import iterate_in_slices
from app.rollout.online_users import Online, polled, programs

LOOK_EVERY_S = 10.0
LASTS_S = 30.0


@dataclass(frozen=True, slots=True)
class Look:
    """At `at` (seconds since 1970): who streams, when whose pages polled last, whom of them the flag lets in.
    `programs` poll with a token and are online too; none has to come to the stream."""

    at: float
    streaming: frozenset[str]
    polled: Mapping[str, float]
    inside: frozenset[str]
    programs: frozenset[str] = frozenset()

    @property
    def online(self) -> frozenset[str]:
        return self.streaming | self.polled.keys() | self.programs

    @property
    def astray(self) -> Mapping[str, float]:
        """Who is not where the flag says, and when they were last seen there: somebody who polled and has left since
        is not waited for."""
        streams = dict.fromkeys(self.streaming - self.inside, self.at)
        return streams | {user: at for user, at in self.polled.items() if user in self.inside - self.streaming}


@dataclass(frozen=True, slots=True)
class Reconciled:
    """People, counted: online, let in by the engine, streaming in fact. `not_yet` should stream and have polled, and
    `still` should not and have streamed, for longer than `LASTS_S`."""

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
class Since:
    """Since when who is astray. It begins anew when what is claimed of the flags changes."""

    claimed: str | None = None
    seen: dict[str, float] = field(default_factory=dict)

    def follow(self, look: Look, claimed: str | None) -> None:
        before = self.seen if claimed == self.claimed else {}
        self.claimed, self.seen = claimed, {user: before.get(user, look.at) for user in look.astray}


def reconcile(look: Look, since: Mapping[str, float]) -> Reconciled:
    """Pure: `since` says when each who is astray was first seen so."""
    lasting = sorted(user for user, at in look.astray.items() if at - since.get(user, look.at) > LASTS_S)
    return Reconciled(
        len(look.online),
        len(look.inside),
        len(look.streaming),
        tuple(user for user in lasting if user in look.inside),
        tuple(user for user in lasting if user not in look.inside),
        len(look.streaming - look.inside),
    )


def lags(found: Holding | None, changed_at: str | None, now: datetime | None = None) -> bool:
    """Whether workers still hold something older than what was set at `changed_at`, and for longer than they may. Pure.

    A worker that is gone does not count, so this is one that runs and does not follow.
    """
    if found is None or changed_at is None or found.holding == found.total:
        return False
    last = max(parse_utc(at) for at in (changed_at, found.since) if at is not None)
    return ((now or utc_now()) - last).total_seconds() > LASTS_S


class Watcher:
    """One worker's: `follow` is called every `LOOK_EVERY_S`, `look` by whoever shows it. Both raise the database's
    error.

    Who should stream is asked of what the deployment claims (`claimed`), which this worker may not hold yet.
    """

    def __init__(
        self, app: Flask, flags: Flags, online: Online, claimed: Callable[[], Mapping[str, Rollout] | str | None]
    ) -> None:
        self._app, self._flags, self._online, self._claimed = app, flags, online, claimed
        self._since = Since()
        self._lock = threading.Lock()

    def follow(self) -> None:
        """Without this nobody would know how long a difference has lasted by the time that somebody looks."""
        self.look()

    def look(self) -> Reconciled:
        with self._app.app_context(), read() as session:
            at = session.scalar(sa.select(now_epoch())) or 0.0
            streaming, pages = frozenset(self._online.streaming(session)), polled(session, PollingRow.seen)
            others = frozenset(programs(session))
        claimed = self._claimed()
        text = claimed if claimed is None or isinstance(claimed, str) else document.of_rollouts(claimed)
        is_let_in = self._flags.under(text)
        people = streaming | pages.keys() | others
        inside = frozenset(user for user in iterate_in_slices(people) if is_let_in(Flag.SSE_STREAMING, user))
        look = Look(at, streaming, pages, inside, others)
        with self._lock:
            self._since.follow(look, text)
            return reconcile(look, self._since.seen)


def watcher() -> Watcher:
    """Of the current application."""
    found: Watcher = current_app.extensions["beacon_actual"]
    return found
