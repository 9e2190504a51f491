"""Runs one claimed command to its end, on a thread of its own.

The order of the steps makes this safe: a request to the service is stored immediately before it is sent, under the
claim, and its answer is stored before anything else happens. A process may therefore die at any point: the next runner
sends what was not sent, never resends what was, and reads the service where the answer is missing.
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
from app.commands.actions import ACTIONS, Action
from app.commands.command_store import ItemAttempt, ItemResult, ItemState
from app.commands.leases import MAX_CRASHES, Claim, CommandLeaseLost, hand_over
from app.commands.models import CommandRow
from app.commands.retry import TRANSIENT_ERRORS, retry_transient
from app.db import read
from app.infra.clock import utc_now
from app.reconciliation import registry
from app.sources.protocol import NotSent, Operation, Source, SourceError

log = logging.getLogger(__name__)

# Like an action's `call_timeout_s`, this counts from the compare-and-set: the latest time to start the call.
MAX_START_DELAY_S = 6.0
# A command that no runner started within this time is dropped: the requester may no longer want it.
MAX_QUEUED_S = 300.0
# For reading the service's state before the first call.
READ_BEFORE_TIMEOUT_S = 30.0
SETTLE_TIMEOUT_S = 60.0
SETTLE_INTERVAL_S = 0.5
NOT_SENT_RETRY_DELAY_S = 0.5
PROGRESS_EVENT_INTERVAL_S = 0.5
# Give up after this many consecutive items without an answer: thousands of further ones would hold locks for days.
MAX_UNANSWERED_IN_A_ROW = 3
NO_ANSWER_DETAIL = "The service does not respond. The remaining items were not sent."
HANDOVER_REASON = "worker is shutting down; another worker continues"
_UNKNOWN_OUTCOME = "It is not known whether that was done."
T = TypeVar("T")


class Handover(Exception):
    """This worker is shutting down and has handed the command to another one."""


class Execution:
    """Runs inside an application context. `busy_until` (monotonic) is when the current call is overdue."""

    def __init__(self, claim: Claim, job_list_bound: int, leaving: threading.Event) -> None:
        self.claim = claim
        self.busy_until = float("inf")
        self._job_list_bound, self._leaving = job_list_bound, leaving

    def run(self) -> None:
        try:
            row = command_store.load_command(self.claim)
            if self._end_if_hopeless(row):
                return
            source = self._make_source(row.service_id)
            if source is None:
                self._abandon(row, f"The service {row.service_id} is no longer watched.", "error")
                return
            try:
                _CommandRun(self, row, source).execute()
            finally:
                with suppress(Exception):
                    source.close()
        except (CommandLeaseLost, Handover) as error:
            log.info(
                "stopped running command: command_id=%s service_id=%s: %s",
                self.claim.command_id,
                self.claim.service_id,
                error,
            )
        except Exception:  # the lease expires, and the next runner reads the service before it sends anything
            log.exception(
                "command failed with an unexpected exception: command_id=%s service_id=%s",
                self.claim.command_id,
                self.claim.service_id,
            )

    def _end_if_hopeless(self, row: CommandRow) -> bool:
        """End a command that crashed too many runners or waited too long. True if it ended."""
        if row.crashes >= MAX_CRASHES:
            why = f"Aborted: the command was started {MAX_CRASHES} times and did not finish."
            self._abandon(row, why, "timeout")
            return True
        # This includes a command that was claimed but sent nothing: the requester may have acted otherwise since.
        if row.acted_at is not None or command_store.read_age_s(row) <= MAX_QUEUED_S:
            return False
        if command_store.load_unsettled(self.claim):
            return False
        why = "No worker could start the command in time. Nothing was sent; submit it again if you still want it."
        self._abandon(row, why, "timeout")
        return True

    def _abandon(self, row: CommandRow, why: str, phase: str) -> None:
        """End the command without sending anything more and without reading the service for missing answers."""
        unsettled = command_store.load_unsettled(self.claim)
        for attempt in unsettled:
            result = ItemResult(attempt.place, "timeout", _UNKNOWN_OUTCOME)
            command_store.record_result(self.claim, result)
        command_store.fail_remaining(self.claim, why)
        if unsettled:
            phase = "timeout"
        elif row.done:
            phase = "error"
        command_store.finish_command(self.claim, phase, False, json.loads(row.before_json or "{}"), {}, why)

    def _make_source(self, service_id: str) -> Source | None:
        with read() as session:
            try:
                make = registry.source_maker(registry.find(session, service_id), self._job_list_bound)
            except registry.ServiceNotFound:
                return None
        return make()


class _CommandRun:
    """A running command with its source."""

    def __init__(self, execution: Execution, row: CommandRow, source: Source) -> None:
        self._execution, self._row, self._source = execution, row, source
        self._claim, self._leaving = execution.claim, execution._leaving
        self._before: Mapping[str, Any] = json.loads(row.before_json or "{}")
        self._next_progress_event_at = 0.0
        self._is_one = row.total == 1

    def execute(self) -> None:
        self._settle_unanswered(_UNKNOWN_OUTCOME)
        if self._row.before_json is None:
            self._before = self._call_with_deadline(
                READ_BEFORE_TIMEOUT_S, lambda: verification.read_before(self._source, self._row)
            )
            command_store.record_before(self._claim, self._before)
        self._execute_items()
        self._call_with_deadline(
            verification.max_duration_s(self._row),
            lambda: verification.verify_and_finish(self._claim, self._source, self._before, self._build_order),
        )

    def _execute_items(self) -> None:
        attempt: ItemAttempt | None = None
        result: ItemResult | None = None
        unanswered = 0
        while True:
            attempt, not_after = self._start_next_item(attempt, result)
            if attempt is None:
                return
            result = self._call_source(attempt, not_after)
            is_answered, settled_as = result.state != "failed", ""
            if result.state == "unknown":
                settled_as = self._settle_item(attempt, result.detail)
                is_answered, result = settled_as == "done", None
            unanswered = 0 if is_answered else unanswered + 1
            is_silent = settled_as == "timeout" or unanswered >= MAX_UNANSWERED_IN_A_ROW
            if is_silent and command_store.has_waiting_items(self._claim):
                self._fail_remaining(result)
                return
            if self._leaving.is_set():
                self._hand_over_rest(result)
                result = None

    def _start_next_item(
        self, attempt: ItemAttempt | None, result: ItemResult | None
    ) -> tuple[ItemAttempt | None, datetime]:
        """The next item, and the latest time at which its call may start."""
        started = utc_now()  # taken before the commit, so that the limit is too early rather than too late
        lines = self._format_log_lines(attempt, result)
        try:
            found = command_store.start_next_item(
                self._claim, result, self._action.call_timeout_s, lines, publish=self._is_progress_event_due()
            )
        except TRANSIENT_ERRORS:
            if result is None:
                raise
            self._record_result(result)
            # The commit may have succeeded and marked the next item as sent. Read it like any unanswered item.
            self._settle_unanswered("It is not known whether that was sent.")
            return self._start_next_item(None, None)
        return found, started + timedelta(seconds=MAX_START_DELAY_S)

    def _record_result(self, result: ItemResult) -> None:
        retry_transient(lambda: command_store.record_result(self._claim, result))

    def _fail_remaining(self, result: ItemResult | None) -> None:
        if result is not None:
            self._record_result(result)
        command_store.fail_remaining(self._claim, NO_ANSWER_DETAIL)

    def _hand_over_rest(self, result: ItemResult | None) -> None:
        if result is not None:
            self._record_result(result)
        if command_store.has_waiting_items(self._claim):
            self._hand_over()

    def _hand_over(self) -> None:
        hand_over(self._claim, HANDOVER_REASON)
        raise Handover(HANDOVER_REASON)

    def _call_source(self, attempt: ItemAttempt, not_after: datetime) -> ItemResult:
        order = self._build_order(attempt, not_after)
        while True:
            try:
                done = self._call_with_deadline(self._action.call_timeout_s, lambda: self._source.execute(order))
                return ItemResult.of(attempt.place, done)
            except NotSent as error:
                # Nothing was sent. Only a retry is tried again: the service itself rejects a second one.
                again = utc_now() + timedelta(seconds=NOT_SENT_RETRY_DELAY_S)
                if not self._action.requeues or again >= not_after or self._leaving.is_set():
                    return ItemResult(attempt.place, "failed", f"Nothing was sent: the service {error.reason}.")
                time.sleep(NOT_SENT_RETRY_DELAY_S)
            except SourceError as error:
                detail = f"The service {error.reason}: it is not known whether that was done."
                return ItemResult(attempt.place, "unknown", detail)
            except Exception:  # a bug in the source: the request may have been sent before the exception
                log.exception("unexpected exception from source: call=act %s", self._describe(attempt))
                return ItemResult(
                    attempt.place, "unknown", "Beacon had an internal error: it is not known whether that was done."
                )

    def _settle_unanswered(self, detail: str) -> None:
        for attempt in command_store.load_unsettled(self._claim):
            self._settle_item(attempt, detail)

    def _settle_item(self, attempt: ItemAttempt, detail: str) -> ItemState:
        """Read the service until it shows the outcome. "Not done" counts only once the call can no longer arrive."""
        left = command_store.mark_unknown(self._claim, ItemResult(attempt.place, "unknown", detail))
        final_at = time.monotonic() + left
        # By this host's clock: after this time a request that has not arrived will not arrive any more.
        order = self._build_order(attempt, utc_now() + timedelta(seconds=left))
        settle_until, why = final_at + SETTLE_TIMEOUT_S, "the service does not report it"
        while time.monotonic() < settle_until:
            said = None
            try:
                said = self._call_with_deadline(
                    self._action.call_timeout_s, lambda: self._source.resolve_outcome(order, attempt.asked_at)
                )
            except SourceError as error:
                why = f"the service {error.reason}"
            except Exception:  # a bug in the source
                log.exception("unexpected exception from source: call=settle %s", self._describe(attempt))
                why = "Beacon could not read the answer"
            if said is not None and (said.outcome == "done" or time.monotonic() >= final_at):
                self._record_result(ItemResult.of(attempt.place, said))
                return said.outcome
            if self._leaving.wait(SETTLE_INTERVAL_S):
                self._hand_over()
        self._record_result(ItemResult(attempt.place, "timeout", f"It is not known whether that was done: {why}."))
        return "timeout"

    def _describe(self, attempt: ItemAttempt) -> str:
        """For log lines."""
        return f"service_id={self._row.service_id} command_id={self._claim.command_id} target={attempt.target}"

    def _call_with_deadline(self, seconds: float, call: Callable[[], T]) -> T:
        """After `seconds` the lease is no longer renewed, so another runner takes over and reads the outcome."""
        self._execution.busy_until = time.monotonic() + seconds
        try:
            return call()
        finally:
            self._execution.busy_until = float("inf")

    def _build_order(self, attempt: ItemAttempt, not_after: datetime | None = None) -> Operation:
        """Every runner uses the same key for the same item. A command id that is reused later gets another key."""
        return Operation(
            self._action.name,
            attempt.target,
            f"beacon-{self._row.accepted_audit_id or self._claim.command_id}-{attempt.place}",
            queue=attempt.queue,
            not_after=not_after,
            at_most=self._row.at_most,
            instance_id=self._before.get("instanceId"),
        )

    @property
    def _action(self) -> Action:
        return ACTIONS[self._row.action]

    def _format_log_lines(self, attempt: ItemAttempt | None, result: ItemResult | None) -> list[str]:
        """For commands with several items only failures are logged."""
        if attempt is None or result is None or (result.state == "done" and not self._is_one):
            return []
        return [result.detail if self._is_one else f"{attempt.target}: {result.detail}"]

    def _is_progress_event_due(self) -> bool:
        if time.monotonic() < self._next_progress_event_at:
            return False
        self._next_progress_event_at = time.monotonic() + PROGRESS_EVENT_INTERVAL_S
        return True
