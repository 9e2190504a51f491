"""One command, from its claim to its end, on a thread of its own.

The order of things is the whole point: what is asked is written down before it is asked, at the last moment and under
the claim; what was answered is written down before anything else. So a process may die anywhere: what was not asked is
asked by the next runner, what was asked is never asked again, and where the answer is missing the service is read.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from app.commands import command_store, verification
from app.commands.command_store import Answer, Asking, State
from app.commands.leases import MOST_CRASHES, Claim, Lost, hand_over
from app.commands.models import CommandRow
from app.commands.retry import FLEETING, insist
from app.db import read
from app.infra.clock import utc_now
from app.reconciliation import registry
from app.sources.protocol import Action, NotSent, Operation, Source, SourceError

log = logging.getLogger(__name__)

# From the compare-and-set on: so long asking may begin, and so long it may change something.
START_S = 6.0
CALL_S: dict[Action, float] = {"retry-job": 15.0, "delete-job": 15.0, "purge-queue": 30.0, "restart-service": 30.0}
# A command that nobody took for so long is not what its person wants any more.
QUEUED_S = 300.0
# A look at how things are, before anything is asked.
BEFORE_S = 30.0
SETTLE_S = 60.0
SETTLE_EVERY_S = 0.5
RETRY_AFTER_S = 0.5
TELL_EVERY_S = 0.5
# So many things in a row without an answer: the thousands behind them would hold their targets for days.
SILENT = 3
GIVES_UP = "The service does not answer: the rest was not asked."
LEAVES = "its worker leaves; another one goes on"
T = TypeVar("T")


class HandedOver(Exception):
    """This worker leaves: the command is another one's."""


class Execution:
    """Runs inside an application context. `busy_until` (monotonic) is when what it waits for just now is overdue."""

    def __init__(self, claim: Claim, job_list_bound: int, leaving: threading.Event) -> None:
        self.claim = claim
        self.busy_until = float("inf")
        self._bound, self._leaving = job_list_bound, leaving

    def run(self) -> None:
        try:
            row = command_store.load(self.claim)
            if self._is_vain(row):
                return
            source = self._source(row.service_id)
            if source is None:
                self._end_without(row, f"The service {row.service_id} is no longer watched.", "error")
                return
            try:
                _Run(self, row, source).go()
            finally:
                with suppress(Exception):
                    source.close()
        except (Lost, HandedOver) as error:
            log.info("command %s: %s", self.claim.command_id, error)
        except Exception:  # its lease runs out, and whoever takes it next reads before asking
            log.exception("command %s broke off", self.claim.command_id)

    def _is_vain(self, row: CommandRow) -> bool:
        if row.crashes >= MOST_CRASHES:
            self._end_without(row, f"Given up: it was begun {MOST_CRASHES} times and broke off each time.", "timeout")
            return True
        # Also one that was taken and never begun: its person may have done something else the next morning.
        if row.acted_at is not None or command_store.age(row) <= QUEUED_S or command_store.unsettled(self.claim):
            return False
        why = "Nobody could take it in time. Nothing was asked; send it anew if you still want it."
        self._end_without(row, why, "timeout")
        return True

    def _end_without(self, row: CommandRow, why: str, phase: str) -> None:
        """Nothing more is asked, and what was asked is not read."""
        unsettled = command_store.unsettled(self.claim)
        for asking in unsettled:
            answer = Answer(asking.place, "timeout", "Nobody knows whether it was done.")
            command_store.record(self.claim, answer)
        command_store.give_up(self.claim, why)
        if unsettled:
            phase = "timeout"
        elif row.done:
            phase = "error"
        command_store.finish(self.claim, phase, False, json.loads(row.before_json or "{}"), {}, why)

    def _source(self, service_id: str) -> Source | None:
        with read() as session:
            try:
                make = registry.source_maker(registry.find(session, service_id), self._bound)
            except registry.NotWatched:
                return None
        return make()


class _Run:
    """The command under way, with its source."""

    def __init__(self, execution: Execution, row: CommandRow, source: Source) -> None:
        self._execution, self._row, self._source = execution, row, source
        self._claim, self._leaving = execution.claim, execution._leaving
        self._before: Mapping[str, Any] = json.loads(row.before_json or "{}")
        self._tell_at = 0.0
        self._is_one = row.total == 1

    def go(self) -> None:
        self._settle_all("It is not known whether that was done.")
        if self._row.before_json is None:
            self._before = self._timely(BEFORE_S, lambda: verification.before(self._source, self._row))
            command_store.begin(self._claim, self._before)
        self._ask_all()
        seconds = verification.longest_s(self._row)
        self._timely(seconds, lambda: verification.conclude(self._claim, self._source, self._before, self._order_of))

    def _ask_all(self) -> None:
        asking: Asking | None = None
        answer: Answer | None = None
        silent = 0
        while True:
            asking, not_after = self._step(asking, answer)
            if asking is None:
                return
            answer = self._ask(asking, not_after)
            heard, unheard = answer.state != "failed", ""
            if answer.state == "unknown":
                unheard = self._settle(asking, answer.detail)
                heard, answer = unheard == "done", None
            silent = 0 if heard else silent + 1
            if (unheard == "timeout" or silent >= SILENT) and command_store.is_left(self._claim):
                self._give_up(answer)
                return
            if self._leaving.is_set():
                self._leave(answer)
                answer = None

    def _step(self, asking: Asking | None, answer: Answer | None) -> tuple[Asking | None, datetime]:
        """What is asked next, and until when that may begin."""
        started = utc_now()  # before the commit, so that the call may begin earlier than it must, never later
        lines = self._lines(asking, answer)
        try:
            found = command_store.step(self._claim, answer, CALL_S[self._action], lines, tell=self._is_due())
        except FLEETING:
            if answer is None:
                raise
            self._record(answer)
            # Perhaps that commit came through, with the next thing marked as asked: it is read then, like any other.
            self._settle_all("It is not known whether that was asked.")
            return self._step(None, None)
        return found, started + timedelta(seconds=START_S)

    def _record(self, answer: Answer) -> None:
        insist(lambda: command_store.record(self._claim, answer))

    def _give_up(self, answer: Answer | None) -> None:
        if answer is not None:
            self._record(answer)
        command_store.give_up(self._claim, GIVES_UP)

    def _leave(self, answer: Answer | None) -> None:
        if answer is not None:
            self._record(answer)
        if command_store.is_left(self._claim):
            self._hand_over()

    def _hand_over(self) -> None:
        hand_over(self._claim, LEAVES)
        raise HandedOver(LEAVES)

    def _ask(self, asking: Asking, not_after: datetime) -> Answer:
        order = self._order_of(asking, not_after)
        while True:
            try:
                return Answer.of(asking.place, self._timely(CALL_S[self._action], lambda: self._source.execute(order)))
            except NotSent as error:
                # Certainly not asked; and what cannot be done twice upstream is the only thing to try again.
                again = utc_now() + timedelta(seconds=RETRY_AFTER_S)
                if self._action != "retry-job" or again >= not_after or self._leaving.is_set():
                    return Answer(asking.place, "failed", f"Nothing was asked: the service {error.reason}.")
                time.sleep(RETRY_AFTER_S)
            except SourceError as error:
                detail = f"The service {error.reason}: it is not known whether that was done."
                return Answer(asking.place, "unknown", detail)
            except Exception:  # a mistake in a kind of source: it may have asked before it broke
                log.exception("a source failed in a way of its own")
                return Answer(asking.place, "unknown", "Beacon broke off: it is not known whether that was done.")

    def _settle_all(self, detail: str) -> None:
        for asking in command_store.unsettled(self._claim):
            self._settle(asking, detail)

    def _settle(self, asking: Asking, detail: str) -> State:
        """Read until the service shows what became of it. That it was not done counts once it no longer can be."""
        left = command_store.unknown(self._claim, Answer(asking.place, "unknown", detail))
        final_at = time.monotonic() + left
        # By this host's clock: from then on an order that never arrived can be known not to arrive any more.
        order = self._order_of(asking, utc_now() + timedelta(seconds=left))
        gives_up_at, why = final_at + SETTLE_S, "its service does not tell"
        while time.monotonic() < gives_up_at:
            said = None
            try:
                said = self._timely(CALL_S[self._action], lambda: self._source.resolve_outcome(order, asking.asked_at))
            except SourceError as error:
                why = f"the service {error.reason}"
            except Exception:  # a mistake in a kind of source
                log.exception("a source failed in a way of its own")
                why = "Beacon could not read its answer"
            if said is not None and (said.outcome == "done" or time.monotonic() >= final_at):
                self._record(Answer.of(asking.place, said))
                return said.outcome
            if self._leaving.wait(SETTLE_EVERY_S):
                self._hand_over()
        self._record(Answer(asking.place, "timeout", f"Nobody knows whether it was done: {why}."))
        return "timeout"

    def _timely(self, seconds: float, call: Callable[[], T]) -> T:
        """What takes longer no longer has its lease renewed: another runner then settles it."""
        self._execution.busy_until = time.monotonic() + seconds
        try:
            return call()
        finally:
            self._execution.busy_until = float("inf")

    def _order_of(self, asking: Asking, not_after: datetime | None = None) -> Operation:
        """Whoever asks: the same key for the same thing. An id that its sender uses again next week is another key."""
        return Operation(
            self._action,
            asking.target,
            f"beacon-{self._row.accepted_audit_id or self._claim.command_id}-{asking.place}",
            queue=asking.queue,
            not_after=not_after,
            at_most=self._row.at_most,
            instance_id=self._before.get("instanceId"),
        )

    @property
    def _action(self) -> Action:
        found: Action = self._row.action  # type: ignore[assignment]  # checked when it was taken on
        return found

    def _lines(self, asking: Asking | None, answer: Answer | None) -> list[str]:
        """Of many things only what went wrong."""
        if asking is None or answer is None or (answer.state == "done" and not self._is_one):
            return []
        return [answer.detail if self._is_one else f"{asking.target}: {answer.detail}"]

    def _is_due(self) -> bool:
        if time.monotonic() < self._tell_at:
            return False
        self._tell_at = time.monotonic() + TELL_EVERY_S
        return True
