"""Applies plans and the guardrail every few seconds, in the one worker that holds the lease.

A change is made like a person's: audited, announced, with an actor and a reason. A decision is carried out in one
transaction with the lease, and only if flag and plan are unchanged since they were read. With Unleash, the request is
sent at most 2 s after that transaction (`provider.TooLate`). It may overwrite a change that somebody makes within these
2 s if the values are the same again.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from app.config import Settings
from app.db import read, write
from app.flags import embedded
from app.flags.document import Flag, Rollout
from app.flags.embedded import ExpectedState
from app.flags.models import GuardrailRow, PlanRow
from app.flags.provider import ChangeRefused, Provider, RolloutConflict, TooLate
from app.rollout import announcements, guardrail, plan, plan_service, stages
from app.rollout.announcements import Controller
from app.rollout.evidence_keeper import EvidenceKeeper
from app.rollout.guardrail import GuardrailVerdict
from app.rollout.observation import FencedLease, ObservedFlag, Observer

log = logging.getLogger(__name__)

CONTROL_EVERY_S = 3.0
# A refused step back (for example, an approval is needed) is retried after this time, then after twice as long, up to
# an hour, because each attempt writes an audit entry.
STEP_BACK_RETRY_S, MAX_STEP_BACK_RETRY_S = 15.0, 3_600.0


class OvertakenByChange(Exception):
    """The flag or its plan was changed after it was read. The next run decides again."""


class RolloutController:
    """The controller of one worker. `run_once` is called every `CONTROL_EVERY_S` and may raise the database's error."""

    def __init__(self, app: Flask, settings: Settings, provider: Provider, lease: FencedLease) -> None:
        self._app, self._settings, self._provider, self._lease = app, settings, provider, lease
        self._keeper = EvidenceKeeper(settings)
        self._observer = Observer(settings, provider)
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
        seen = self._keep_evidence(flag)
        verdict = self._observer.judge(seen)
        if verdict.is_dry:
            self._record_dry_run(seen, verdict.reason)
        elif verdict.action != "go":
            self._record_hold(seen, verdict)
            return
        blocked = seen.guard is not None
        if seen.guard is not None and self._may_release(seen, seen.guard):
            self._release(seen)  # also while switched off, or nobody could switch it on again
            blocked = False
        percentage = seen.view.state.percentage
        if seen.plan is None or percentage is None:
            return  # the percentage is unknown, so nothing is raised
        if seen.view.state.enabled:
            self._follow_plan(seen, seen.plan, percentage, blocked=blocked)
        elif seen.plan.paused_at is None:
            self._pause_plan(seen)

    def _keep_evidence(self, flag: Flag) -> ObservedFlag:
        """What there is about the flag, after what the controller itself notes of it is stored."""
        with read() as session:
            seen = self._observer.observe(session, flag)
            slow = None
            if seen.stage is not None and seen.is_judged:
                slow = self._keeper.is_slow(session, seen.stage, seen.limits, seen.recent, seen.now)
        follows = seen.plan is not None and seen.plan.paused_at is None and seen.is_judged
        people = self._keeper.measure(flag, seen.now) if follows else None
        value: float | str | None = "not due"
        if seen.stage is not None and seen.is_judged:
            value = self._keeper.fetch_query(seen.stage, seen.limits, seen.now)
        if seen.stage is not None and slow is None and people is None and value == "not due":
            return seen
        with self._write_locked() as session:
            stage = stages.ensure_stage(session, flag, seen.view.state.percentage if seen.view.state.enabled else 0)
            if slow is not None:
                stage.slow_looks, stage.slow_looked_at = stage.slow_looks + 1 if slow else 0, seen.now
            if not isinstance(value, str):
                is_bad = guardrail.is_too_high(seen.limits, value)
                stage.query_value, stage.query_at = value, seen.now
                stage.query_looks = stage.query_looks + 1 if is_bad else 0
            row = session.get(PlanRow, flag)
            if people is not None and row is not None:
                self._keeper.keep_people(session, stage, row, people)
        with read() as session:
            return self._observer.observe(session, flag)

    def _may_release(self, seen: ObservedFlag, row: GuardrailRow) -> bool:
        """A window after trouble was last seen; while people are in, only if streams have worked within that window."""
        if seen.now - row.since < self._settings.guardrail_window_s:
            return False
        recent = seen.recent
        works = recent.connects > 0 and recent.failures <= seen.limits.max_failures * recent.connects
        return works or not seen.is_judged

    def _record_dry_run(self, seen: ObservedFlag, reason: str) -> None:
        """Once in each stage."""
        if seen.stage is not None and seen.stage.had_trouble:
            return
        with self._write_locked() as session:
            self._mark_trouble(session, seen.flag)
            announcements.announce(
                session, self._provider, seen.flag, "guardrail", "would-hold", f"would have held: {reason}", record=True
            )

    @staticmethod
    def _mark_trouble(session: Session, flag: Flag) -> None:
        stage = stages.find_stage(session, flag)
        if stage is not None:
            stage.had_trouble = True

    def _record_hold(self, seen: ObservedFlag, verdict: GuardrailVerdict) -> None:
        with self._write_locked() as session:
            row = session.get(GuardrailRow, seen.flag)
            if row is None:
                row = GuardrailRow(flag=seen.flag, since=seen.now, reason=verdict.reason, refusals=0, retry_at=0.0)
                session.add(row)
                if verdict.action == "hold":
                    self._announce_hold(session, seen.flag, verdict.reason)
            row.since, row.reason = seen.now, verdict.reason
            self._mark_trouble(session, seen.flag)
        if verdict.action == "off":
            self._switch_off(seen, verdict.reason)
        elif verdict.percentage is not None and seen.now >= row.retry_at:
            self._step_back(seen, verdict.reason, verdict.percentage)

    def _switch_off(self, seen: ObservedFlag, reason: str) -> None:
        self._take_back(seen, reason, "switching off", None, enabled=False)

    def _step_back(self, seen: ObservedFlag, reason: str, percentage: float) -> None:
        self._take_back(seen, reason, "stepping back", percentage)

    def _take_back(
        self, seen: ObservedFlag, reason: str, what: str, percentage: float | None, enabled: bool | None = None
    ) -> None:
        try:
            self._set_percentage(seen, "guardrail", reason, percentage, lambda _session: None, enabled)
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
                    log.warning("guardrail: %s of flag=%s was refused: %s", what, seen.flag, error)
                    self._announce_hold(session, seen.flag, f"{reason}; {what} was refused: {error}")

    def _release(self, seen: ObservedFlag) -> None:
        with self._write_locked() as session:
            session.execute(sa.delete(GuardrailRow).where(GuardrailRow.flag == seen.flag))
            if seen.is_judged:  # old reports say nothing about what follows
                stages.begin_stage(session, seen.flag, int(seen.now * 1_000), seen.view.state.percentage)
            said = "holds no longer: no trouble was reported"
            announcements.announce(session, self._provider, seen.flag, "guardrail", "released", said, record=True)

    def _follow_plan(self, seen: ObservedFlag, row: PlanRow, percentage: float, *, blocked: bool) -> None:
        now = plan_service.to_plan(row)
        found = plan.decide_next(now, seen.now, percentage, blocked=blocked, waits=seen.status.waits)
        if found.ended is not None:
            is_taken_back = seen.view.actor == "guardrail" and not now.is_at(percentage)
            why = f"the guardrail went back to {percentage:g} %" if is_taken_back else found.ended
            with self._write_locked() as session:
                self._require_unchanged(session, seen)
                plan_service.end_plan(session, seen.flag, why)
                announcements.announce(session, self._provider, seen.flag, "plan", "ended", f"ended: {why}")
        elif found.percentage is not None:
            self._raise_to_step(seen, row, found.plan, found.percentage)

    def _raise_to_step(self, seen: ObservedFlag, row: PlanRow, after: plan.Plan, percentage: float) -> None:
        def advance(session: Session) -> None:
            """In the transaction of the change, so that a crash in between does not look like a manual change."""
            plan_service.save_progress(session, seen.flag, after)
            # At once: what Unleash was told is seen only when it comes back.
            stages.begin_stage(session, seen.flag, int(plan_service.read_epoch(session) * 1_000), percentage)

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
        self,
        seen: ObservedFlag,
        cause: Controller,
        reason: str,
        percentage: float | None,
        then: Callable[[Session], None],
        enabled: bool | None = None,
    ) -> None:
        def precondition(session: Session, _before: Rollout, _after: Rollout) -> None:
            self._lease.guard(session)
            self._require_unchanged(session, seen)
            then(session)

        expected = ExpectedState(seen.view.state.percentage, True)
        self._provider.change(
            seen.flag,
            cause,
            reason[: embedded.MAX_REASON_LENGTH],
            percentage,
            enabled,
            expected=expected,
            precondition=precondition,
            cause=cause,
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
