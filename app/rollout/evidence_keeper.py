"""Keeps the evidence that no report brings: stream-minutes, who could be in, lasting differences, looks at the lag.

Run by the worker that holds the lease; what it found is in the database, so another one goes on from there.
"""

from dataclasses import replace
from typing import Literal

from sqlalchemy.orm import Session

from app.components import components
from app.config import Settings
from app.flags.document import Flag
from app.flags.models import PlanRow, StageRow
from app.rollout import client_reports, guardrail, prometheus_query, witnesses
from app.rollout.drift import DRIFT_AFTER_S, DRIFT_CHECK_EVERY_S, Drift, OnlineSnapshot
from app.rollout.evidence import CohortEvidence
from app.rollout.guardrail import SLOW_LOOK_EVERY_S, GuardrailLimits
from app.rollout.plan_options import PlanState

# A measurement stands for the time since the one before, but for no more than this: in between anything may have been.
MAX_MEASURED_S = 30.0
# A difference of one person, or of this share of those expected, holds no plan: somebody's proxy may never let a stream
# through.
MIN_DIFFERENT_PEOPLE, BEARABLE_DIFFERENCE = 2, 0.05


class EvidenceKeeper:
    """The keeper of one worker. `measure` is called at every turn of the controller, outside of a transaction."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._measured_at: dict[Flag, float] = {}
        self._began_at: dict[Flag, float] = {}

    def measure(self, flag: Flag, now: float) -> tuple[OnlineSnapshot, Drift, float] | None:
        """Who is online and where they should be, and how many seconds that stands for; None if it is too early."""
        last = self._measured_at.get(flag)
        if last is not None and now - last < DRIFT_CHECK_EVERY_S - 1:
            return None
        self._measured_at[flag] = now
        if last is None or now - last > MAX_MEASURED_S:
            self._began_at[flag] = now
        return *components().drift.measure_people(), 0.0 if last is None else min(now - last, MAX_MEASURED_S)

    def keep_people(
        self, session: Session, stage: StageRow, row: PlanRow, found: tuple[OnlineSnapshot, Drift, float]
    ) -> None:
        """Add stream-minutes and who could be in, and note a lasting difference. Call it inside `db.write()`."""
        snapshot, drift, seconds = found
        flag = Flag(row.flag)
        reporting = witnesses.load_people(session, flag)
        secret = self._settings.secret_key
        people = [
            user
            for user in snapshot.inside
            if user in snapshot.polled or witnesses.hash_person(user, secret) in reporting
        ]
        stage.reachable = max(stage.reachable, len(people))
        stage.stream_minutes += len(snapshot.streaming & snapshot.inside) * seconds / 60
        state = PlanState.parse(row.state_json)
        words = describe_difference(drift)
        if not words and state.differs_since is not None and self._is_new(flag):
            return
        since = None if not words else state.differs_since or snapshot.at
        if (since, words) != (state.differs_since, state.difference):
            row.state_json = replace(state, differs_since=since, difference=words).serialize()

    def _is_new(self, flag: Flag) -> bool:
        """True while this worker has not measured for long enough to say that a difference is over."""
        return self._measured_at.get(flag, 0.0) - self._began_at.get(flag, 0.0) <= 2 * DRIFT_AFTER_S

    def is_slow(
        self, session: Session, stage: StageRow, limits: GuardrailLimits, recent: CohortEvidence, now: float
    ) -> bool | None:
        """Whether deliveries are too slow at this look; None if the last look that counted was less than a minute ago,
        or if there is nothing to note."""
        if now - stage.slow_looked_at < SLOW_LOOK_EVERY_S:
            return None
        since = stage.since_ms / 1_000
        window = client_reports.load_lag_window(session, now, self._settings.guardrail_window_s, since)
        found = guardrail.is_slow(limits, window, recent)
        return found if found or stage.slow_looks else None

    def fetch_query(self, stage: StageRow, limits: GuardrailLimits, now: float) -> float | Literal["not due"] | None:
        """What the Prometheus query says, once a minute. Called outside of a transaction."""
        url = self._settings.prometheus_url
        if not url or not limits.query or now - stage.query_at < SLOW_LOOK_EVERY_S:
            return "not due"
        return prometheus_query.fetch_value(url, limits.query)


def describe_difference(drift: Drift) -> str:
    """`4 of 12 people who should stream have been polling for more than 30 s`; empty if it is no lasting difference, or
    a small one."""
    for people, what in (
        (drift.not_yet, "people who should stream have been polling"),
        (drift.still, "people who should not stream have been streaming"),
    ):
        others = drift.expected if people is drift.not_yet else drift.actual
        if len(people) >= MIN_DIFFERENT_PEOPLE and len(people) > BEARABLE_DIFFERENCE * others:
            of = f"{len(people):,} of {others:,}" if people is drift.not_yet else f"{len(people):,}"
            return f"{of} {what} for more than {DRIFT_AFTER_S:g} s"
    return ""
