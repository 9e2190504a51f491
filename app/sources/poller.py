"""The poller: one thread for each service, all under one lease.

Under gunicorn, `threading` is gevent's, so each thread is a greenlet. What a poll does is passed in (`observe`): this
package knows nothing of Beacon's recorded state.
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
from app.infra.logs import FailureLog

log = logging.getLogger(__name__)

TICK_S = 1.0
JITTER = 0.1
MAX_BACK_OFF_S = 60.0
STOP_S = 5.0
MIN_WAIT_S = 0.05
# However slow a service is, it is left alone for this share of the interval after each answer.
MIN_PAUSE_SHARE = 0.25
# Gap between the first polls of services that start together. Hundreds at once would delay even the lease renewal.
START_GAP_S = 0.025


class PolledService(Protocol):
    """A service to poll. Replaced as a whole when its settings change."""

    @property
    def id(self) -> str: ...


W = TypeVar("W", bound=PolledService)
W_contra = TypeVar("W_contra", bound=PolledService, contravariant=True)


@dataclass(frozen=True, slots=True)
class PollResult:
    """The result of one poll. `silent_in_s`: when to check for silence next, even if no poll is due by then."""

    answered: bool
    silent_in_s: float | None = None


class PollObserver(Protocol[W_contra]):
    """The callbacks of the polling loops. `LeaseLost` ends a loop; any other exception counts as a failed poll."""

    def observe(self, service: W_contra) -> PollResult:
        """Poll once and record the result."""
        ...

    def note_silence(self, service: W_contra) -> PollResult:
        """Without polling, record that the service has been silent for too long, if it has."""
        ...

    def tick(self) -> None:
        """Called about once a second while the lease is held."""
        ...


class Poller(Generic[W]):
    """Acquires the lease and, while holding it, polls every service of `services()` until stopped."""

    def __init__(
        self,
        lease: Lease,
        services: Callable[[], Sequence[W]],
        observer: PollObserver[W],
        interval_s: float,
        *,
        context: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext,
        let_go: Callable[[W], None] = lambda _service: None,
        release: Callable[[], None] = lambda: None,
        tick_s: float = TICK_S,
        renew_every_s: float = LEASE_RENEW_EVERY_S,
    ) -> None:
        self._lease, self._services, self._observer = lease, services, observer
        self._let_go = let_go  # called by a service's loop when it no longer uses that service
        self._release = release  # called after every loop has ended
        self._context = context  # entered around every callback: the application context, for database access
        self._interval_s, self._tick_s, self._renew_every_s = interval_s, tick_s, renew_every_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._loops: dict[str, _ServiceLoop[W]] = {}
        self._holds = False
        self._renew_at = 0.0
        self._failure_log = FailureLog(log, f"poller step, lease={lease.name},")

    @property
    def is_polling(self) -> bool:
        """True while this process holds the polling lease."""
        return self._holds

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="beacon-poller", daemon=True)
        self._thread.start()

    def stop(self, within_s: float = STOP_S) -> None:
        """End every loop and release the lease. A poll that runs longer than `within_s` can no longer write."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(within_s)
            self._thread = None

    def poll_now(self, service_id: str) -> None:
        """Poll this service now if this process polls. If a poll is running, poll again right after it."""
        loop = self._loops.get(service_id)
        if loop is not None:
            loop.poll_now()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._context():
                    self._step()
                self._failure_log.record_success()
            except Exception as error:  # noqa: BLE001 -- the database may be down for an hour
                self._failure_log.record_failure(error)
            self._stopping.wait(self._tick_s)
        self._shut_down()

    def _step(self) -> None:
        if time.monotonic() >= self._renew_at:
            # Set before renewing: a slow answer must not make the lease look younger than it is.
            self._renew_at = time.monotonic() + self._renew_every_s
            self._set_holding(self._lease.renew() if self._holds else self._lease.try_acquire())
        if self._holds:
            self._sync_loops(self._services())
            self._observer.tick()
        else:
            self._sync_loops(())

    def _set_holding(self, holds: bool) -> None:
        if holds != self._holds:
            log.info("poller %s the lease %s", "acquired" if holds else "lost", self._lease.name)
        self._holds = holds

    def _sync_loops(self, services: Sequence[W]) -> None:
        """Run one loop for each service. A service's new loop starts only after its old one has ended."""
        wanted = {service.id: service for service in services}
        for service_id, loop in list(self._loops.items()):
            if service_id not in wanted:
                loop.end()
            if loop.has_ended:
                del self._loops[service_id]
        after_s = 0.0
        for service_id, service in wanted.items():
            if service_id in self._loops:
                self._loops[service_id].update(service)
            else:
                loop = _ServiceLoop(service, self._observer, self._interval_s, self._context, self._let_go)
                self._loops[service_id] = loop
                loop.start(after_s)
                after_s += START_GAP_S

    def _shut_down(self) -> None:
        for loop in self._loops.values():
            loop.end()
        if self._holds:
            for step in (self._observer.tick, self._lease.release):
                try:
                    with self._context():
                        step()
                except Exception as error:  # noqa: BLE001 -- the lease expires by itself
                    log.warning("poller could not finish its work at shutdown: %s", error)
            self._holds = False
        deadline = time.monotonic() + STOP_S
        for loop in self._loops.values():
            loop.join(max(0.0, deadline - time.monotonic()))
        self._release()


class _ServiceLoop(Generic[W]):
    """Polls one service repeatedly in its own thread."""

    def __init__(
        self,
        service: W,
        observer: PollObserver[W],
        interval_s: float,
        context: Callable[[], AbstractContextManager[object]],
        let_go: Callable[[W], None],
    ) -> None:
        self.service = service
        self._context, self._let_go = context, let_go
        self._used: W | None = None  # the service object of the latest poll
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

    def poll_now(self) -> None:
        self._wake.set()

    def update(self, service: W) -> None:
        """Use the service's current settings. If they changed, poll now; that also releases the former object."""
        if service != self.service:
            self.service = service
            self._wake.set()

    def join(self, within_s: float) -> None:
        self._thread.join(within_s)

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._wake.wait(self._after_s)
            while not self._ending:
                self._wake.clear()
                began = time.monotonic()
                outcome = self._attempt(self._observer.observe)
                self._failures = 0 if outcome.answered else self._failures + 1
                wait_s = pause_s(self._interval_s, self._failures, time.monotonic() - began)
                self._wait(wait_s, outcome.silent_in_s)
        except LeaseLost as error:
            log.info("polling stopped, service_id=%s: %s", self.service.id, error)
        finally:
            self._switch_to(None)

    def _switch_to(self, service: W | None) -> None:
        """Release the former service object. Runs in the loop's own thread, so never during a poll."""
        before, self._used = self._used, service
        if before is not None and before != service:
            try:
                self._let_go(before)
            except Exception:  # a failed release must not end polling
                log.warning("releasing the former source failed, service_id=%s", before.id, exc_info=True)

    def _attempt(self, act: Callable[[W], PollResult]) -> PollResult:
        service = self.service
        self._switch_to(service)
        try:
            with self._context():
                return act(service)
        except LeaseLost:
            raise
        except Exception:  # one failed poll must not end polling
            log.warning("poll failed, service_id=%s", self.service.id, exc_info=True)
            return PollResult(answered=False)

    def _wait(self, wait_s: float, silent_in_s: float | None) -> None:
        """Wait for the next poll and check for silence in between, as often as `silent_in_s` says."""
        due = time.monotonic() + wait_s
        while silent_in_s is not None and time.monotonic() + silent_in_s < due:
            if self._ending or self._wake.wait(silent_in_s):
                return
            silent_in_s = self._attempt(self._observer.note_silence).silent_in_s
            silent_in_s = None if silent_in_s is None else max(silent_in_s, MIN_WAIT_S)
        if not self._ending:
            self._wake.wait(max(0.0, due - time.monotonic()))


def pause_s(interval_s: float, failures: int, took_s: float) -> float:
    """Return the wait after a poll that took so long. The interval is from poll to poll: otherwise a service that needs
    3 s to answer would be checked every 8 s instead of every 5. A failing service gets its whole wait."""
    wait = back_off_s(interval_s, failures)
    return wait if failures else max(wait - took_s, interval_s * MIN_PAUSE_SHARE)


def back_off_s(interval_s: float, failures: int) -> float:
    """Return the wait before the next poll: doubled for each consecutive failure, up to a minute, ± 10 %."""
    wait = interval_s * (1 << min(failures, 16))
    longest = max(interval_s, MAX_BACK_OFF_S)
    return min(wait, longest) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 -- spreads polls, guards nothing
