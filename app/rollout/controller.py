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
from app.flags.embedded import Expected
from app.flags.models import GuardRow, PlanRow
from app.flags.provider import Late, Moved, Provider, Refused, View
from app.rollout import announcements, changes_history, client_reports, guardrail, plan, plan_service
from app.rollout.guardrail import Limits, Verdict

log = logging.getLogger(__name__)

LOOK_EVERY_S = 3.0
GUARDRAIL, PLAN = "guardrail", "plan"
JUDGED = frozenset({Flag.SSE_STREAMING})
# A step back that is refused (an approval is needed) is tried again after this, then twice as long, up to an hour: each
# try is an entry in the audit.
RETRY_S, RETRY_MOST_S = 15.0, 3_600.0


class FencedLease(Protocol):
    def try_acquire(self) -> bool: ...
    def renew(self) -> bool: ...
    def guard(self, session: Session) -> None: ...


class Overtaken(Exception):
    """Somebody moved the flag or touched its plan after the look: the next one decides anew."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look, at `now` (seconds since 1970)."""

    flag: Flag
    now: float
    view: View
    before: Sequence[float]
    guard: GuardRow | None
    plan: PlanRow | None


class Watch:
    """One worker's; `look` is called every `LOOK_EVERY_S`. Raises the database's error; the next look comes."""

    def __init__(self, app: Flask, settings: Settings, provider: Provider, lease: FencedLease) -> None:
        self._app, self._settings, self._provider, self._lease = app, settings, provider, lease
        self._limits = Limits(
            settings.guardrail_mode,
            settings.guardrail_max_failures,
            settings.guardrail_max_lag_s,
            settings.guardrail_min_attempts,
        )
        self._holds = False

    def look(self) -> None:
        with self._app.app_context():
            self._holds = (self._holds and self._lease.renew()) or self._lease.try_acquire()
            if not self._holds:
                return
            for flag in Flag:
                try:
                    self._look_at(flag)
                except (Overtaken, Moved):
                    log.debug("%s was moved while the guardrail looked at it", flag)

    def _look_at(self, flag: Flag) -> None:
        with read() as session:
            seen = self._see(session, flag)
            verdict = self._judge(session, seen)
        if verdict.action != "go":
            self._hold(seen, verdict)
            return
        blocked = seen.guard is not None
        if seen.guard is not None and seen.now - seen.guard.since >= self._settings.guardrail_window_s:
            self._release(seen)  # switched off too: nobody could ever switch it on again
            blocked = False
        percentage = seen.view.nominal.percentage
        if seen.plan is None or percentage is None:
            return  # nobody can say where it is: nothing grows
        if seen.view.nominal.enabled:
            self._follow(seen, seen.plan, percentage, blocked=blocked)
        elif seen.plan.paused_at is None:
            self._pause(seen)

    def _see(self, session: Session, flag: Flag) -> Seen:
        view, now = self._provider.view(session, flag), plan_service.epoch(session)
        return Seen(
            flag,
            now,
            view,
            changes_history.percentages(session, flag),
            session.get(GuardRow, flag),
            session.get(PlanRow, flag),
        )

    def _judge(self, session: Session, seen: Seen) -> Verdict:
        """What is reported is of streams, as the rollout has them: it says nothing of another flag, and nothing of a
        percentage while a setting decides for everyone."""
        nominal = seen.view.nominal
        if seen.flag not in JUDGED or seen.flag in self._settings.flag_overrides:
            return Verdict("go")
        if nominal.percentage is None or not nominal.enabled or seen.view.outcome.why_nobody is not None:
            return Verdict("go")  # nobody is in, or nobody can say how many
        window = client_reports.window(session, seen.now, self._settings.guardrail_window_s, seen.view.level_since)
        return guardrail.judge(self._limits, window, nominal.percentage, seen.before)

    def _hold(self, seen: Seen, verdict: Verdict) -> None:
        with self._writing() as session:
            row = session.get(GuardRow, seen.flag)
            if row is None:
                row = GuardRow(flag=seen.flag, since=seen.now, reason=verdict.reason, refusals=0, retry_at=0.0)
                session.add(row)
                if verdict.percentage is None:
                    self._say_held(session, seen.flag, verdict.reason)
            row.since, row.reason = seen.now, verdict.reason
        if verdict.percentage is not None and seen.now >= row.retry_at:
            self._step_back(seen, verdict.reason, verdict.percentage)

    def _step_back(self, seen: Seen, reason: str, percentage: float) -> None:
        try:
            self._set(seen, GUARDRAIL, reason, percentage, lambda _session: None)
        except Late:
            return  # the next look decides anew
        except Refused as error:
            with self._writing() as session:
                row = session.get(GuardRow, seen.flag)
                if row is None:
                    return
                row.retry_at = plan_service.epoch(session) + min(RETRY_MOST_S, RETRY_S * 2.0 ** min(row.refusals, 10))
                row.refusals += 1
                if row.refusals == 1:
                    log.warning("the guardrail could not set %s to %s %%: %s", seen.flag, percentage, error)
                    self._say_held(session, seen.flag, f"{reason}; stepping back was refused: {error}")

    def _release(self, seen: Seen) -> None:
        with self._writing() as session:
            session.execute(sa.delete(GuardRow).where(GuardRow.flag == seen.flag))
            said = "holds no longer: no trouble was reported"
            announcements.say(session, self._provider, seen.flag, GUARDRAIL, said, "rollout-release")

    def _follow(self, seen: Seen, row: PlanRow, percentage: float, *, blocked: bool) -> None:
        found = plan.due(plan_service.of_row(row), seen.now, percentage, blocked=blocked)
        if found.ended is not None:
            with self._writing() as session:
                self._check(session, seen)
                plan_service.end(session, seen.flag, PLAN, found.ended)
                announcements.tell(session, self._provider, seen.flag, PLAN, f"ended: {found.ended}")
        elif found.percentage is not None:
            self._raise(seen, row, found.plan, found.percentage)

    def _raise(self, seen: Seen, row: PlanRow, after: plan.Plan, percentage: float) -> None:
        def advance(session: Session) -> None:
            """With the change, so that a crash between the two does not look like somebody's hand."""
            plan_service.put(session, seen.flag, after)

        reason = f"step {after.step + 1} of {len(after.steps)} of {row.actor}'s plan: {row.reason}"
        try:
            self._set(seen, PLAN, reason[: embedded.MAX_REASON], percentage, advance)
        except Refused as error:
            with self._writing() as session:
                now = session.get(PlanRow, seen.flag)
                if now is None or plan_service.of_row(now) not in (plan_service.of_row(row), after):
                    return
                plan_service.put(session, seen.flag, plan_service.of_row(row))
                if not isinstance(error, Late):  # the next look decides anew
                    self._halted(session, seen, f"{percentage} % was refused: {error}")

    def _pause(self, seen: Seen) -> None:
        with self._writing() as session:
            self._check(session, seen)
            self._halted(session, seen, "the flag is switched off")

    def _halted(self, session: Session, seen: Seen, why: str) -> None:
        """Somebody has to look before it goes on."""
        why = why[: embedded.MAX_REASON - len("paused: ")]
        if plan_service.halt(session, seen.flag, PLAN, why):
            announcements.tell(session, self._provider, seen.flag, PLAN, f"paused: {why}")

    def _set(self, seen: Seen, actor: str, reason: str, percentage: float, then: Callable[[Session], None]) -> None:
        def within(session: Session, _before: Rollout, _after: Rollout) -> None:
            self._lease.guard(session)
            self._check(session, seen)
            then(session)

        expected = Expected(seen.view.nominal.percentage, True)
        self._provider.change(seen.flag, actor, reason, percentage, expected=expected, within=within)

    def _check(self, session: Session, seen: Seen) -> None:
        """Raises `Overtaken`. Back at the same percentage is not where it was: others decided that."""
        view = self._provider.view(session, seen.flag)
        is_there = (view.nominal, view.actor, view.changed_at) == (
            seen.view.nominal,
            seen.view.actor,
            seen.view.changed_at,
        )
        if not is_there or not plan_service.is_same(session.get(PlanRow, seen.flag), seen.plan):
            raise Overtaken

    def _say_held(self, session: Session, flag: Flag, reason: str) -> None:
        """Once a hold: its plan waits for a person, as silence afterwards is no sign of health."""
        plan_service.halt(session, flag, GUARDRAIL, "the guardrail holds")
        announcements.say(session, self._provider, flag, GUARDRAIL, f"holds: {reason}", "rollout-hold")

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """A transaction in which nobody else moves a flag or steers a plan."""
        with write() as session:
            embedded.lock(session)
            self._lease.guard(session)
            yield session


def blocked_by(session: Session, flag: Flag) -> str | None:
    """Why the guardrail lets nothing grow now; None where it does."""
    row = session.get(GuardRow, flag)
    return None if row is None else row.reason
