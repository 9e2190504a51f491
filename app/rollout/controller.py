"""Applies plans and the guardrail every few seconds, in the one worker that holds the lease.

A change is made like a person's: audited, announced, with an actor and a reason. A decision is carried out in one
transaction with the lease, and only if flag and plan are unchanged since they were read. With Unleash, the request is
sent at most 2 s after that transaction (`provider.TooLate`). It may overwrite a change that somebody makes within these
2 s if the values are the same again.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from app.config import Settings
from app.db import read, write
from app.flags import embedded
from app.flags.document import Flag, Rollout
from app.flags.embedded import ExpectedState
from app.flags.models import GuardrailRow, PlanRow
from app.flags.provider import ChangeRefused, FlagView, Provider, RolloutConflict, TooLate
from app.rollout import announcements, changes_history, client_reports, guardrail, plan, plan_service
from app.rollout.announcements import Controller
from app.rollout.guardrail import GuardrailLimits, GuardrailVerdict

log = logging.getLogger(__name__)

CONTROL_EVERY_S = 3.0
JUDGED_FLAGS = frozenset({Flag.SSE_STREAMING})
# A refused step back (for example, an approval is needed) is retried after this time, then after twice as long, up to
# an hour, because each attempt writes an audit entry.
STEP_BACK_RETRY_S, MAX_STEP_BACK_RETRY_S = 15.0, 3_600.0


class FencedLease(Protocol):
    def try_acquire(self) -> bool: ...
    def renew(self) -> bool: ...
    def guard(self, session: Session) -> None: ...


class OvertakenByChange(Exception):
    """The flag or its plan was changed after it was read. The next run decides again."""


@dataclass(frozen=True, slots=True)
class ObservedFlag:
    """The state of a flag as read at `now` (seconds since 1970)."""

    flag: Flag
    now: float
    view: FlagView
    before: Sequence[float]
    guard: GuardrailRow | None
    plan: PlanRow | None


class RolloutController:
    """The controller of one worker. `run_once` is called every `CONTROL_EVERY_S` and may raise the database's error."""

    def __init__(self, app: Flask, settings: Settings, provider: Provider, lease: FencedLease) -> None:
        self._app, self._settings, self._provider, self._lease = app, settings, provider, lease
        self._limits = GuardrailLimits(
            settings.guardrail_mode,
            settings.guardrail_max_failures,
            settings.guardrail_max_lag_s,
            settings.guardrail_min_attempts,
        )
        self._has_lease = False

    def run_once(self) -> None:
        with self._app.app_context():
            self._has_lease = (self._has_lease and self._lease.renew()) or self._lease.try_acquire()
            if not self._has_lease:
                return
            for flag in Flag:
                try:
                    self._control_flag(flag)
                except (OvertakenByChange, RolloutConflict):
                    log.debug("flag=%s was changed during the guardrail check", flag)

    def _control_flag(self, flag: Flag) -> None:
        with read() as session:
            seen = self._observe(session, flag)
            verdict = self._judge(session, seen)
        if verdict.action != "go":
            self._record_hold(seen, verdict)
            return
        blocked = seen.guard is not None
        if seen.guard is not None and seen.now - seen.guard.since >= self._settings.guardrail_window_s:
            self._release(seen)  # also while switched off, or nobody could switch it on again
            blocked = False
        percentage = seen.view.state.percentage
        if seen.plan is None or percentage is None:
            return  # the percentage is unknown, so nothing is raised
        if seen.view.state.enabled:
            self._follow_plan(seen, seen.plan, percentage, blocked=blocked)
        elif seen.plan.paused_at is None:
            self._pause_plan(seen)

    def _observe(self, session: Session, flag: Flag) -> ObservedFlag:
        view, now = self._provider.view(session, flag), plan_service.read_epoch(session)
        return ObservedFlag(
            flag,
            now,
            view,
            changes_history.load_percentages(session, flag),
            session.get(GuardrailRow, flag),
            session.get(PlanRow, flag),
        )

    def _judge(self, session: Session, seen: ObservedFlag) -> GuardrailVerdict:
        """Reports are about streams, so they say nothing about other flags, nor about the percentage while a setting
        overrides the flag for everyone."""
        state = seen.view.state
        if seen.flag not in JUDGED_FLAGS or seen.flag in self._settings.flag_overrides:
            return GuardrailVerdict("go")
        if state.percentage is None or not state.enabled or seen.view.outcome.why_nobody is not None:
            return GuardrailVerdict("go")  # nobody is in, or the percentage is unknown
        window = client_reports.load_window(session, seen.now, self._settings.guardrail_window_s, seen.view.level_since)
        return guardrail.judge_window(self._limits, window, state.percentage, seen.before)

    def _record_hold(self, seen: ObservedFlag, verdict: GuardrailVerdict) -> None:
        with self._write_locked() as session:
            row = session.get(GuardrailRow, seen.flag)
            if row is None:
                row = GuardrailRow(flag=seen.flag, since=seen.now, reason=verdict.reason, refusals=0, retry_at=0.0)
                session.add(row)
                if verdict.percentage is None:
                    self._announce_hold(session, seen.flag, verdict.reason)
            row.since, row.reason = seen.now, verdict.reason
        if verdict.percentage is not None and seen.now >= row.retry_at:
            self._step_back(seen, verdict.reason, verdict.percentage)

    def _step_back(self, seen: ObservedFlag, reason: str, percentage: float) -> None:
        try:
            self._set_percentage(seen, "guardrail", reason, percentage, lambda _session: None)
        except TooLate:
            return  # the next run decides again
        except ChangeRefused as error:
            with self._write_locked() as session:
                row = session.get(GuardrailRow, seen.flag)
                if row is None:
                    return
                row.retry_at = plan_service.read_epoch(session) + min(
                    MAX_STEP_BACK_RETRY_S, STEP_BACK_RETRY_S * 2.0 ** min(row.refusals, 10)
                )
                row.refusals += 1
                if row.refusals == 1:
                    log.warning("guardrail: setting flag=%s to %s %% was refused: %s", seen.flag, percentage, error)
                    self._announce_hold(session, seen.flag, f"{reason}; stepping back was refused: {error}")

    def _release(self, seen: ObservedFlag) -> None:
        with self._write_locked() as session:
            session.execute(sa.delete(GuardrailRow).where(GuardrailRow.flag == seen.flag))
            said = "holds no longer: no trouble was reported"
            announcements.announce(session, self._provider, seen.flag, "guardrail", "released", said, record=True)

    def _follow_plan(self, seen: ObservedFlag, row: PlanRow, percentage: float, *, blocked: bool) -> None:
        found = plan.decide_next(plan_service.to_plan(row), seen.now, percentage, blocked=blocked)
        if found.ended is not None:
            with self._write_locked() as session:
                self._require_unchanged(session, seen)
                plan_service.end_plan(session, seen.flag, found.ended)
                announcements.announce(session, self._provider, seen.flag, "plan", "ended", f"ended: {found.ended}")
        elif found.percentage is not None:
            self._raise_to_step(seen, row, found.plan, found.percentage)

    def _raise_to_step(self, seen: ObservedFlag, row: PlanRow, after: plan.Plan, percentage: float) -> None:
        def advance(session: Session) -> None:
            """In the transaction of the change, so that a crash in between does not look like a manual change."""
            plan_service.save_progress(session, seen.flag, after)

        reason = f"step {after.step + 1} of {len(after.steps)} of {row.actor}'s plan: {row.reason}"
        try:
            self._set_percentage(seen, "plan", reason[: embedded.MAX_REASON_LENGTH], percentage, advance)
        except ChangeRefused as error:
            with self._write_locked() as session:
                now = session.get(PlanRow, seen.flag)
                if now is None or plan_service.to_plan(now) not in (plan_service.to_plan(row), after):
                    return
                plan_service.save_progress(session, seen.flag, plan_service.to_plan(row))
                if not isinstance(error, TooLate):  # the next run decides again
                    self._halt_plan(session, seen, f"{percentage} % was refused: {error}")

    def _pause_plan(self, seen: ObservedFlag) -> None:
        with self._write_locked() as session:
            self._require_unchanged(session, seen)
            self._halt_plan(session, seen, "the flag is switched off")

    def _halt_plan(self, session: Session, seen: ObservedFlag, why: str) -> None:
        """Pause the plan until a person resumes it, and announce it."""
        why = why[: embedded.MAX_REASON_LENGTH - len("paused: ")]
        if plan_service.pause_for_person(session, seen.flag, "plan", why):
            announcements.announce(session, self._provider, seen.flag, "plan", "paused", f"paused: {why}")

    def _set_percentage(
        self, seen: ObservedFlag, cause: Controller, reason: str, percentage: float, then: Callable[[Session], None]
    ) -> None:
        def precondition(session: Session, _before: Rollout, _after: Rollout) -> None:
            self._lease.guard(session)
            self._require_unchanged(session, seen)
            then(session)

        expected = ExpectedState(seen.view.state.percentage, True)
        self._provider.change(
            seen.flag, cause, reason, percentage, expected=expected, precondition=precondition, cause=cause
        )

    def _require_unchanged(self, session: Session, seen: ObservedFlag) -> None:
        """Raises `OvertakenByChange`, also if somebody changed the flag back to the same percentage."""
        view = self._provider.view(session, seen.flag)
        is_there = (view.state, view.actor, view.changed_at) == (
            seen.view.state,
            seen.view.actor,
            seen.view.changed_at,
        )
        if not is_there or not plan_service.is_same_plan(session.get(PlanRow, seen.flag), seen.plan):
            raise OvertakenByChange

    def _announce_hold(self, session: Session, flag: Flag, reason: str) -> None:
        """Called once for each hold. The plan waits for a person, because a lack of reports is no sign of health."""
        plan_service.pause_for_person(session, flag, "guardrail", "the guardrail holds")
        announcements.announce(session, self._provider, flag, "guardrail", "held", f"holds: {reason}", record=True)

    @contextmanager
    def _write_locked(self) -> Iterator[Session]:
        """A transaction in which nobody else changes a flag or a plan."""
        with write() as session:
            embedded.lock_flags(session)
            self._lease.guard(session)
            yield session


def find_block_reason(session: Session, flag: Flag) -> str | None:
    """Why the guardrail blocks increases now; None if it does not."""
    row = session.get(GuardrailRow, flag)
    return None if row is None else row.reason
