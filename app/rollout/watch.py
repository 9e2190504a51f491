"""Applies plan and guardrail, once in the whole deployment: whoever holds the lease looks every few seconds.

A change is made as a person's is (audited, told, with an actor and a reason), and only from where the flag was seen:
a holder that was frozen and thaws is refused.
"""

import json
import logging
from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from app.audit.models import AuditRow
from app.clock import parse_utc
from app.config import Settings
from app.db import now_epoch, read, write
from app.rollout import guardrail, plan, reports, store
from app.rollout.configuration import Flag, Rollout
from app.rollout.guardrail import Limits, Verdict
from app.rollout.models import GuardRow, PlanRow
from app.rollout.plan import Plan, Step
from app.rollout.provider import Moved, Provider, Refused, View
from app.rollout.store import Expected

log = logging.getLogger(__name__)

LOOK_EVERY_S = 3.0
GUARDRAIL, PLAN = "guardrail", "plan"
# How many of a flag's newest changes are looked through for the percentage before.
CHANGES = 50


class FencedLease(Protocol):
    def try_acquire(self) -> bool: ...
    def renew(self) -> bool: ...
    def guard(self, session: Session) -> None: ...


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
                self._look_at(flag)

    def _look_at(self, flag: Flag) -> None:
        with read() as session:
            view = self._provider.view(session, flag)
            percentage, now = view.nominal.percentage, _now(session)
            if percentage is None or not view.nominal.enabled:
                return  # switched off, or nobody can say at what: nothing grows
            window = reports.window(session, now, self._settings.guardrail_window_s, _changed(view))
            verdict = guardrail.judge(self._limits, window, percentage, _before(session, flag))
            guard, row = session.get(GuardRow, flag), session.get(PlanRow, flag)
        if verdict.action != "go":
            self._hold(flag, view, verdict, percentage, now, is_new=guard is None)
            return
        if guard is not None and now - guard.since >= self._settings.guardrail_window_s:
            self._release(flag)
            guard = None
        if row is not None:
            self._follow(flag, row, now, percentage, blocked=guard is not None)

    def _hold(self, flag: Flag, view: View, verdict: Verdict, percentage: int, now: float, *, is_new: bool) -> None:
        with write() as session:
            self._lease.guard(session)
            session.merge(GuardRow(flag=flag, since=now, reason=verdict.reason))
            if is_new and verdict.percentage is None:
                here, reason = Rollout(view.nominal.enabled, percentage), f"holds: {verdict.reason}"
                store.audited(session, flag, GUARDRAIL, reason, here, here, action="rollout-hold")
                store.told(session, flag, here, GUARDRAIL, reason)
        if verdict.percentage is not None:
            self._set(flag, GUARDRAIL, verdict.reason, verdict.percentage, percentage)

    def _release(self, flag: Flag) -> None:
        with write() as session:
            self._lease.guard(session)
            session.execute(sa.delete(GuardRow).where(GuardRow.flag == flag))

    def _follow(self, flag: Flag, row: PlanRow, now: float, percentage: int, *, blocked: bool) -> None:
        found = plan.due(of_row(row), now, percentage, blocked=blocked)
        if found.percentage is not None:
            reason = f"step {found.plan.step + 1} of {len(found.plan.steps)} of {row.actor}'s plan: {row.reason}"
            if not self._set(flag, PLAN, reason[: store.MAX_REASON], found.percentage, percentage):
                found = plan.Due(plan.paused(of_row(row), now))  # somebody has to look before it goes on
        if found.ended is not None or found.plan != of_row(row):
            with write() as session:
                self._lease.guard(session)
                _write(session, flag, found)

    def _set(self, flag: Flag, actor: str, reason: str, percentage: int, seen: int) -> bool:
        with write() as session:
            self._lease.guard(session)
        try:
            self._provider.change(flag, actor, reason, percentage, expected=Expected(seen, True))
        except (Moved, Refused) as error:
            log.warning("%s could not set %s to %s %%: %s", actor, flag, percentage, error)
            return False
        return True


def blocked_by(session: Session, flag: Flag) -> str | None:
    """Why the guardrail lets nothing grow now; None where it does."""
    row = session.get(GuardRow, flag)
    return None if row is None else row.reason


def of_row(row: PlanRow) -> Plan:
    steps = tuple(Step(step["percentage"], step["holdMinutes"] * 60) for step in json.loads(row.steps_json))
    return Plan(steps, row.step, row.since, row.paused_at)


def _write(session: Session, flag: Flag, found: plan.Due) -> None:
    row = session.get(PlanRow, flag)
    if row is None:
        return  # stopped meanwhile
    if found.ended is not None:
        session.delete(row)
    else:
        row.step, row.since, row.paused_at = found.plan.step, found.plan.since, found.plan.paused_at


def _before(session: Session, flag: Flag) -> Sequence[int]:
    """The percentages that the flag had, newest last."""
    query = sa.select(AuditRow.before_state_json).where(
        AuditRow.target == flag,
        AuditRow.outcome == "success",
        AuditRow.action_type.in_(("rollout-set", "rollout-seen")),
    )
    rows = session.scalars(query.order_by(AuditRow.seq.desc()).limit(CHANGES)).all()
    return [int(json.loads(row)["percentage"]) for row in reversed(rows) if row]


def _changed(view: View) -> float:
    return 0.0 if view.changed_at is None else parse_utc(view.changed_at).timestamp()


def _now(session: Session) -> float:
    return session.scalar(sa.select(now_epoch())) or 0.0
