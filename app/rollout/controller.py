"""Applies plan and guardrail, once in the whole deployment: whoever holds the lease looks every few seconds.

A change is made as a person's is (audited, told, with an actor and a reason). What was decided from a look is done in
one transaction with the lease, and only while flag and plan still are as they were seen. In Unleash it is asked for at
most 2 s after that transaction (`provider.Late`); what others do within these, at the same figures, it may still undo.
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
from app.rollout.guardrail import GuardrailLimits, GuardrailVerdict

log = logging.getLogger(__name__)

CONTROL_EVERY_S = 3.0
GUARDRAIL_ACTOR, PLAN_ACTOR = "guardrail", "plan"
JUDGED_FLAGS = frozenset({Flag.SSE_STREAMING})
# A step back that is refused (an approval is needed) is tried again after this, then twice as long, up to an hour: each
# try is an entry in the audit.
STEP_BACK_RETRY_S, MAX_STEP_BACK_RETRY_S = 15.0, 3_600.0


class FencedLease(Protocol):
    def try_acquire(self) -> bool: ...
    def renew(self) -> bool: ...
    def guard(self, session: Session) -> None: ...


class OvertakenByChange(Exception):
    """Somebody moved the flag or touched its plan after the look: the next one decides anew."""


@dataclass(frozen=True, slots=True)
class ObservedFlag:
    """One look, at `now` (seconds since 1970)."""

    flag: Flag
    now: float
    view: FlagView
    before: Sequence[float]
    guard: GuardrailRow | None
    plan: PlanRow | None


class RolloutController:
    """One worker's; `look` is called every `LOOK_EVERY_S`. Raises the database's error; the next look comes."""

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
                    log.debug("%s was moved while the guardrail looked at it", flag)

    def _control_flag(self, flag: Flag) -> None:
        with read() as session:
            seen = self._observe(session, flag)
            verdict = self._judge(session, seen)
        if verdict.action != "go":
            self._record_hold(seen, verdict)
            return
        blocked = seen.guard is not None
        if seen.guard is not None and seen.now - seen.guard.since >= self._settings.guardrail_window_s:
            self._release(seen)  # switched off too: nobody could ever switch it on again
            blocked = False
        percentage = seen.view.state.percentage
        if seen.plan is None or percentage is None:
            return  # nobody can say where it is: nothing grows
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
        """What is reported is of streams, as the rollout has them: it says nothing of another flag, and nothing of a
        percentage while a setting decides for everyone."""
        nominal = seen.view.state
        if seen.flag not in JUDGED_FLAGS or seen.flag in self._settings.flag_overrides:
            return GuardrailVerdict("go")
        if nominal.percentage is None or not nominal.enabled or seen.view.outcome.why_nobody is not None:
            return GuardrailVerdict("go")  # nobody is in, or nobody can say how many
        window = client_reports.load_window(session, seen.now, self._settings.guardrail_window_s, seen.view.level_since)
        return guardrail.judge_window(self._limits, window, nominal.percentage, seen.before)

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
            self._set_percentage(seen, GUARDRAIL_ACTOR, reason, percentage, lambda _session: None)
        except TooLate:
            return  # the next look decides anew
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
                    log.warning("the guardrail could not set %s to %s %%: %s", seen.flag, percentage, error)
                    self._announce_hold(session, seen.flag, f"{reason}; stepping back was refused: {error}")

    def _release(self, seen: ObservedFlag) -> None:
        with self._write_locked() as session:
            session.execute(sa.delete(GuardrailRow).where(GuardrailRow.flag == seen.flag))
            said = "holds no longer: no trouble was reported"
            announcements.announce_and_audit(
                session, self._provider, seen.flag, GUARDRAIL_ACTOR, said, "rollout-release"
            )

    def _follow_plan(self, seen: ObservedFlag, row: PlanRow, percentage: float, *, blocked: bool) -> None:
        found = plan.decide_next(plan_service.to_plan(row), seen.now, percentage, blocked=blocked)
        if found.ended is not None:
            with self._write_locked() as session:
                self._require_unchanged(session, seen)
                plan_service.end_plan(session, seen.flag, PLAN_ACTOR, found.ended)
                announcements.announce(session, self._provider, seen.flag, PLAN_ACTOR, f"ended: {found.ended}")
        elif found.percentage is not None:
            self._raise_to_step(seen, row, found.plan, found.percentage)

    def _raise_to_step(self, seen: ObservedFlag, row: PlanRow, after: plan.Plan, percentage: float) -> None:
        def advance(session: Session) -> None:
            """With the change, so that a crash between the two does not look like somebody's hand."""
            plan_service.save_progress(session, seen.flag, after)

        reason = f"step {after.step + 1} of {len(after.steps)} of {row.actor}'s plan: {row.reason}"
        try:
            self._set_percentage(seen, PLAN_ACTOR, reason[: embedded.MAX_REASON_LENGTH], percentage, advance)
        except ChangeRefused as error:
            with self._write_locked() as session:
                now = session.get(PlanRow, seen.flag)
                if now is None or plan_service.to_plan(now) not in (plan_service.to_plan(row), after):
                    return
                plan_service.save_progress(session, seen.flag, plan_service.to_plan(row))
                if not isinstance(error, TooLate):  # the next look decides anew
                    self._halt_plan(session, seen, f"{percentage} % was refused: {error}")

    def _pause_plan(self, seen: ObservedFlag) -> None:
        with self._write_locked() as session:
            self._require_unchanged(session, seen)
            self._halt_plan(session, seen, "the flag is switched off")

    def _halt_plan(self, session: Session, seen: ObservedFlag, why: str) -> None:
        """Somebody has to look before it goes on."""
        why = why[: embedded.MAX_REASON_LENGTH - len("paused: ")]
        if plan_service.pause_for_person(session, seen.flag, PLAN_ACTOR, why):
            announcements.announce(session, self._provider, seen.flag, PLAN_ACTOR, f"paused: {why}")

    def _set_percentage(
        self, seen: ObservedFlag, actor: str, reason: str, percentage: float, then: Callable[[Session], None]
    ) -> None:
        def precondition(session: Session, _before: Rollout, _after: Rollout) -> None:
            self._lease.guard(session)
            self._require_unchanged(session, seen)
            then(session)

        expected = ExpectedState(seen.view.state.percentage, True)
        self._provider.change(seen.flag, actor, reason, percentage, expected=expected, precondition=precondition)

    def _require_unchanged(self, session: Session, seen: ObservedFlag) -> None:
        """Raises `Overtaken`. Back at the same percentage is not where it was: others decided that."""
        view = self._provider.view(session, seen.flag)
        is_there = (view.state, view.actor, view.changed_at) == (
            seen.view.state,
            seen.view.actor,
            seen.view.changed_at,
        )
        if not is_there or not plan_service.is_same_plan(session.get(PlanRow, seen.flag), seen.plan):
            raise OvertakenByChange

    def _announce_hold(self, session: Session, flag: Flag, reason: str) -> None:
        """Once a hold: its plan waits for a person, as silence afterwards is no sign of health."""
        plan_service.pause_for_person(session, flag, GUARDRAIL_ACTOR, "the guardrail holds")
        announcements.announce_and_audit(
            session, self._provider, flag, GUARDRAIL_ACTOR, f"holds: {reason}", "rollout-hold"
        )

    @contextmanager
    def _write_locked(self) -> Iterator[Session]:
        """A transaction in which nobody else moves a flag or steers a plan."""
        with write() as session:
            embedded.lock_flags(session)
            self._lease.guard(session)
            yield session


def find_block_reason(session: Session, flag: Flag) -> str | None:
    """Why the guardrail lets nothing grow now; None where it does."""
    row = session.get(GuardrailRow, flag)
    return None if row is None else row.reason
