"""Tables of the rollout: flags and their history, plans, guardrail, reports."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.eventlog.event_types import ChangeCause, ChangeKind


class Percentage(sa.types.TypeDecorator[float]):
    """A float column that returns whole numbers as ints: people and Unleash write 50, not 50.0."""

    impl = sa.Float
    cache_ok = True

    def process_result_value(self, value: float | None, _dialect: sa.Dialect) -> float | None:
        return int(value) if value is not None and value == int(value) else value


class FlagRow(Base):
    """The state of a flag and who set it. In Unleash mode: the state last seen there. `percentage` is None if no single
    number describes it.

    `level_since` is when the effective percentage last changed, by the database's clock (seconds since 1970); 0 if
    unknown.
    """

    __tablename__ = "flag"

    name: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool]
    percentage: Mapped[float | None] = mapped_column(Percentage)
    actor: Mapped[str]
    reason: Mapped[str]
    changed_at: Mapped[str]
    level_since: Mapped[float] = mapped_column(default=0.0)


class RolloutChangeRow(Base):
    """One entry of a flag's history: a change, an attempt that failed, or what the guardrail or a plan did.

    The audit has the same entries, but its retention deletes them. The states are None if unknown, and for entries of a
    plan. `steps_json`: the steps of a plan that was started.
    """

    __tablename__ = "rollout_change"
    __table_args__ = (sa.Index("ix_rollout_change_flag", "flag", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    flag: Mapped[str]
    at: Mapped[str]
    actor: Mapped[str]
    cause: Mapped[ChangeCause] = mapped_column(sa.Text)
    kind: Mapped[ChangeKind] = mapped_column(sa.Text)
    reason: Mapped[str]
    before_enabled: Mapped[bool | None]
    before_percentage: Mapped[float | None] = mapped_column(Percentage)
    after_enabled: Mapped[bool | None]
    after_percentage: Mapped[float | None] = mapped_column(Percentage)
    failed: Mapped[str | None]
    steps_json: Mapped[str | None]


class SnapshotRow(Base):
    """The newest configuration that Unleash sent to any worker, so that a restart without Unleash has flags. `kept_at`:
    when this version was first stored."""

    __tablename__ = "flag_configuration"

    source: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    version: Mapped[str]
    state_json: Mapped[str]
    kept_at: Mapped[str]


class PendingChangeRow(Base):
    """One stage of a change that Beacon is making in Unleash, or has made (`is_made`) but not yet seen come back."""

    __tablename__ = "flag_intent"

    change: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[int] = mapped_column(primary_key=True)
    flag: Mapped[str]
    enabled: Mapped[bool]
    percentage: Mapped[float | None] = mapped_column(Percentage)
    actor: Mapped[str]
    reason: Mapped[str]
    cause: Mapped[ChangeCause] = mapped_column(sa.Text, server_default="manual")
    at: Mapped[float]
    is_made: Mapped[bool]


class WorkerStateRow(Base):
    """The configuration that a worker has loaded. It counts only while `seen` (seconds since 1970) is recent."""

    __tablename__ = "flag_held"

    worker: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str]
    nominal_json: Mapped[str]
    seen: Mapped[float]


class PollingRow(Base):
    """A polling user and their last poll (seconds since 1970), as a page and as a program; 0 means never."""

    __tablename__ = "polling_presence"

    user: Mapped[str] = mapped_column(primary_key=True)
    seen: Mapped[float] = mapped_column(index=True)
    program_seen: Mapped[float] = mapped_column(default=0.0)


class PlanRow(Base):
    """The staged plan of a flag. `since`: when the current step was reached; a resume shifts it by the paused time.

    `options_json`: what the plan says beside its steps, such as minimums. `state_json`: what people and the controller
    have said about the current step. Both may be missing from rows of an older version, whose database fills them in.
    """

    __tablename__ = "rollout_plan"

    flag: Mapped[str] = mapped_column(primary_key=True)
    steps_json: Mapped[str]
    step: Mapped[int]
    since: Mapped[float]
    paused_at: Mapped[float | None]
    actor: Mapped[str]
    reason: Mapped[str]
    options_json: Mapped[str] = mapped_column(default="{}", server_default="{}")
    state_json: Mapped[str] = mapped_column(default="{}", server_default="{}")


class GuardrailRow(Base):
    """The guardrail of a flag while it blocks increases. `since`: when trouble was last seen. `refusals` and `retry_at`
    belong to a step back that was refused: how often, and when to retry."""

    __tablename__ = "guardrail"

    flag: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[float]
    reason: Mapped[str]
    refusals: Mapped[int]
    retry_at: Mapped[float]


class BaselineRow(Base):
    """Connection attempts and failures before the current rollout began: from `from_minute` until before
    `until_minute`, while the flag was on for nobody."""

    __tablename__ = "rollout_baseline"

    flag: Mapped[str] = mapped_column(primary_key=True)
    from_minute: Mapped[int]
    until_minute: Mapped[int]
    attempts: Mapped[int]
    failures: Mapped[int]


class ReportRow(Base):
    """The sum of what browsers of one cohort reported in one minute. Histograms are keyed by upper bound."""

    __tablename__ = "client_report"

    minute: Mapped[int] = mapped_column(primary_key=True)
    cohort: Mapped[str] = mapped_column(primary_key=True)
    reports: Mapped[int]
    attempts: Mapped[int]
    failures: Mapped[int]
    fallbacks: Mapped[int]
    reconnects: Mapped[int]
    hello_json: Mapped[str]
    lag_json: Mapped[str]


class WitnessRow(Base):
    """What one person's pages reported since a stage began (`since_ms`, milliseconds since 1970): in all (`period` 0),
    or in one period of the guardrail's window. `person` is a keyed hash, deleted two stages later.

    `failures` are among the `connects`; `slow` are among the `delivered`. `cut_at`: when a working stream last ended.
    """

    __tablename__ = "rollout_witness"

    flag: Mapped[str] = mapped_column(primary_key=True)
    since_ms: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    period: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    cohort: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(primary_key=True)
    connects: Mapped[int]
    failures: Mapped[int]
    delivered: Mapped[int]
    slow: Mapped[int]
    cut_at: Mapped[float]


class StageRow(Base):
    """A time in which the same people were in. `evidence_json`: what was reported, by cohort, once it is over.

    `reachable`: the most people online at a time whom the flag let in. `slow_looks`: how many looks in a row found
    deliveries too slow. `query_value`: what the Prometheus query said at the last look, None if it said nothing;
    `query_looks`: how many looks in a row it was too high. `had_trouble`: the guardrail found trouble, so it is nothing
    to compare with.
    """

    __tablename__ = "rollout_stage"

    flag: Mapped[str] = mapped_column(primary_key=True)
    since_ms: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    began_at: Mapped[str]
    ended_at: Mapped[str | None]
    percentage: Mapped[float | None] = mapped_column(Percentage)
    reachable: Mapped[int] = mapped_column(default=0)
    stream_minutes: Mapped[float] = mapped_column(default=0.0)
    evidence_json: Mapped[str] = mapped_column(default="{}")
    slow_looks: Mapped[int] = mapped_column(default=0)
    slow_looked_at: Mapped[float] = mapped_column(default=0.0)
    query_value: Mapped[float | None]
    query_looks: Mapped[int] = mapped_column(default=0)
    query_at: Mapped[float] = mapped_column(default=0.0)
    had_trouble: Mapped[bool] = mapped_column(default=False)


class PastPlanRow(Base):
    """A plan that is over, with its steps, their evidence and its end, as the page and the API show it."""

    __tablename__ = "rollout_past_plan"
    __table_args__ = (sa.Index("ix_rollout_past_plan_flag", "flag", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    flag: Mapped[str]
    ended_at: Mapped[str]
    plan_json: Mapped[str]


class LimitsRow(Base):
    """Limits of the guardrail that a person has set; without a row those of the settings apply."""

    __tablename__ = "rollout_limits"

    flag: Mapped[str] = mapped_column(primary_key=True)
    limits_json: Mapped[str]
    actor: Mapped[str]
    changed_at: Mapped[str]


class WebhookRow(Base):
    """How far the webhook has been told about changes of flags. `tries` and `retry_at` belong to the next message."""

    __tablename__ = "rollout_webhook"

    name: Mapped[str] = mapped_column(primary_key=True)
    cursor: Mapped[int] = mapped_column(sa.BigInteger)
    generation: Mapped[str]
    tries: Mapped[int]
    retry_at: Mapped[float]
