"""The loops that poll: one thread of its own for each service, all under one lease.

Under gunicorn `threading` is gevent's, so a thread here is a greenlet there. What a poll does is given from
outside (`observe`): nothing in this package knows what Beacon believes.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from app.infra.lease import LEASE_RENEW_EVERY_S, Lease, LeaseLost

log = logging.getLogger(__name__)

TICK_S = 1.0
JITTER = 0.1
MAX_BACK_OFF_S = 60.0
STOP_S = 5.0
SHORTEST_REST_S = 0.05
# Between the first polls of services that begin together: hundreds at once would keep even the lease's renewal waiting.
BEGIN_EVERY_S = 0.025


class Watched(Protocol):
    """A service to poll; replaced as a whole when its settings change."""

    @property
    def id(self) -> str: ...


W = TypeVar("W", bound=Watched)
W_contra = TypeVar("W_contra", bound=Watched, contravariant=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one poll. `silent_in_s`: when to look at the silence, even if no poll is due by then."""

    answered: bool
    silent_in_s: float | None = None


class Observer(Protocol[W_contra]):
    """What the loops call. `LeaseLost` ends the loop; any other exception counts as a failed poll."""

    def observe(self, service: W_contra) -> Outcome:
        """Poll once, and record it."""
        ...

    def note_silence(self, service: W_contra) -> Outcome:
        """No poll: record that the service has been silent for too long, if it has."""
        ...

    def tick(self) -> None:
        """About once a second while the lease is held."""
        ...


class Poller(Generic[W]):
    """Holds the lease if it can, and then polls every service of `services()` until it is stopped."""

    def __init__(
        self,
        lease: Lease,
        services: Callable[[], Sequence[W]],
        observer: Observer[W],
        interval_s: float,
        *,
        context: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
        let_go: Callable[[W], None] = lambda _service: None,
        release: Callable[[], None] = lambda: None,
        tick_s: float = TICK_S,
        renew_every_s: float = LEASE_RENEW_EVERY_S,
    ) -> None:
        self._lease, self._services, self._observer = lease, services, observer
        self._let_go = let_go  # called by a service's own loop, which uses it no longer
        self._release = release  # called once every loop has ended
        self._context = context  # entered around everything that is called: the application's, for its database
        self._interval_s, self._tick_s, self._renew_every_s = interval_s, tick_s, renew_every_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._loops: dict[str, _Loop[W]] = {}
        self._holds = False
        self._renew_at = 0.0
        self._complained = ""

    @property
    def polling(self) -> bool:
        """True while this process is the one that polls."""
        return self._holds

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="beacon-poller", daemon=True)
        self._thread.start()

    def stop(self, within_s: float = STOP_S) -> None:
        """End every loop and give the lease back. A poll that outlives the bound can no longer write."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(within_s)
            self._thread = None

    def poke(self, service_id: str) -> None:
        """Poll this service at once, if this process polls; during a poll, once more right after it."""
        loop = self._loops.get(service_id)
        if loop is not None:
            loop.poke()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._context():
                    self._step()
                self._complained = ""
            except Exception as error:  # noqa: BLE001 -- the database may be away for an hour; logged, once
                self._complain(error)
            self._stopping.wait(self._tick_s)
        self._give_up()

    def _complain(self, error: Exception) -> None:
        """Once for each new trouble, not once a second."""
        text = repr(error)[:200]
        if text != self._complained:
            log.warning("the poller cannot go on just now: %s", text, exc_info=error)
        self._complained = text

    def _step(self) -> None:
        if time.monotonic() >= self._renew_at:
            # Set before asking: an answer that comes late must not make the lease look younger than it is.
            self._renew_at = time.monotonic() + self._renew_every_s
            self._hold(self._lease.renew() if self._holds else self._lease.try_acquire())
        if self._holds:
            self._follow(self._services())
            self._observer.tick()
        else:
            self._follow(())

    def _hold(self, holds: bool) -> None:
        if holds != self._holds:
            log.info("%s the lease %s", "took" if holds else "lost", self._lease.name)
        self._holds = holds

    def _follow(self, services: Sequence[W]) -> None:
        """Let there be one loop for each service. A loop on its way out is waited for before the next begins."""
        wanted = {service.id: service for service in services}
        for service_id, loop in list(self._loops.items()):
            if service_id not in wanted:
                loop.end()
            if loop.ended:
                del self._loops[service_id]
        after_s = 0.0
        for service_id, service in wanted.items():
            if service_id in self._loops:
                self._loops[service_id].follow(service)
            else:
                loop = _Loop(service, self._observer, self._interval_s, self._context, self._let_go)
                self._loops[service_id] = loop
                loop.start(after_s)
                after_s += BEGIN_EVERY_S

    def _give_up(self) -> None:
        for loop in self._loops.values():
            loop.end()
        if self._holds:
            for step in (self._observer.tick, self._lease.release):
                with contextlib.suppress(Exception), self._context():  # the lease runs out by itself
                    step()
            self._holds = False
        deadline = time.monotonic() + STOP_S
        for loop in self._loops.values():
            loop.join(max(0.0, deadline - time.monotonic()))
        self._release()


class _Loop(Generic[W]):
    """The polls of one service, one after the other."""

    def __init__(
        self,
        service: W,
        observer: Observer[W],
        interval_s: float,
        context: Callable[[], AbstractContextManager[object]],
        let_go: Callable[[W], None],
    ) -> None:
        self.service = service
        self._context, self._let_go = context, let_go
        self._used: W | None = None  # what the newest poll was made with
        self._observer, self._interval_s = observer, interval_s
        self._wake = threading.Event()
        self._ending = False
        self._failures = 0
        self._after_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"beacon-poll-{service.id}", daemon=True)

    def start(self, after_s: float = 0.0) -> None:
        self._after_s = after_s
        self._thread.start()

    def end(self) -> None:
        self._ending = True
        self._wake.set()

    def poke(self) -> None:
        self._wake.set()

    def follow(self, service: W) -> None:
        """Poll it as it is now; at once where it was changed, which also lets go of what it was before."""
        if service != self.service:
            self.service = service
            self._wake.set()

    def join(self, within_s: float) -> None:
        self._thread.join(within_s)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._wake.wait(self._after_s)
            while not self._ending:
                self._wake.clear()
                outcome = self._attempt(self._observer.observe)
                self._failures = 0 if outcome.answered else self._failures + 1
                self._rest(back_off_s(self._interval_s, self._failures), outcome.silent_in_s)
        except LeaseLost as error:
            log.info("polling of %s ends: %s", self.service.id, error)
        finally:
            self._use(None)

    def _use(self, service: W | None) -> None:
        """In the loop's own thread, so never while a poll is under way."""
        before, self._used = self._used, service
        if before is not None and before != service:
            try:
                self._let_go(before)
            except Exception:  # what cannot be given up must not end the polls
                log.warning("what %s was polled with before could not be given up", before.id, exc_info=True)

    def _attempt(self, act: Callable[[W], Outcome]) -> Outcome:
        service = self.service
        self._use(service)
        try:
            with self._context():
                return act(service)
        except LeaseLost:
            raise
        except Exception:  # one bad poll must not be the last one
            log.warning("poll of %s failed", self.service.id, exc_info=True)
            return Outcome(answered=False)

    def _rest(self, wait_s: float, silent_in_s: float | None) -> None:
        """Wait for the next poll, and look at the silence in between, as often as it says."""
        due = time.monotonic() + wait_s
        while silent_in_s is not None and time.monotonic() + silent_in_s < due:
            if self._ending or self._wake.wait(silent_in_s):
                return
            silent_in_s = self._attempt(self._observer.note_silence).silent_in_s
            silent_in_s = None if silent_in_s is None else max(silent_in_s, SHORTEST_REST_S)
        if not self._ending:
            self._wake.wait(max(0.0, due - time.monotonic()))


def back_off_s(interval_s: float, failures: int) -> float:
    """The wait before the next poll: doubling with every failure in a row up to a minute, ± 10 %."""
    wait = interval_s * (1 << min(failures, 16))
    longest = max(interval_s, MAX_BACK_OFF_S)
    return min(wait, longest) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 -- spreads polls, guards nothing
