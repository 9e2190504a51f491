"""The rollout of each flag and what belongs to it; the history is in the log and the audit."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class Percentage(sa.types.TypeDecorator[float]):
    """Whole numbers are ints: people and Unleash write 50, not 50.0."""

    impl = sa.Float
    cache_ok = True

    def process_result_value(self, value: float | None, _dialect: sa.Dialect) -> float | None:
        return int(value) if value is not None and value == int(value) else value


class FlagRow(Base):
    """Where a flag stands and who put it there. In the Unleash mode: as it was last seen there; `percentage` is None
    where no single number says it.

    `level_since` is when it last let more or fewer people in, by the database's clock (seconds since 1970), 0 where
    nobody knows.
    """

    __tablename__ = "flag"

    name: Mapped[str] = mapped_column(primary_key=True)
    enabled: Mapped[bool]
    percentage: Mapped[float | None] = mapped_column(Percentage)
    actor: Mapped[str]
    reason: Mapped[str]
    changed_at: Mapped[str]
    level_since: Mapped[float] = mapped_column(default=0.0)


class SnapshotRow(Base):
    """The newest configuration that Unleash sent to any worker: a restart without Unleash knows it. `kept_at`: when it
    was first one of this version."""

    __tablename__ = "flag_configuration"

    source: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    version: Mapped[str]
    state_json: Mapped[str]
    kept_at: Mapped[str]


class PendingChangeRow(Base):
    """A stage of a change that Beacon is making in Unleash, or has (`is_made`) and not seen arrive yet."""

    __tablename__ = "flag_intent"

    change: Mapped[str] = mapped_column(primary_key=True)
    stage: Mapped[int] = mapped_column(primary_key=True)
    flag: Mapped[str]
    enabled: Mapped[bool]
    percentage: Mapped[float | None] = mapped_column(Percentage)
    actor: Mapped[str]
    reason: Mapped[str]
    at: Mapped[float]
    is_made: Mapped[bool]


class WorkerStateRow(Base):
    """Which configuration a worker holds. It counts only while `seen` (seconds since 1970) is young."""

    __tablename__ = "flag_held"

    worker: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str]
    nominal_json: Mapped[str]
    seen: Mapped[float]


class PollingRow(Base):
    """Somebody who polls, and when they did last (seconds since 1970): as a page, and as a program; 0 is never."""

    __tablename__ = "polling_presence"

    user: Mapped[str] = mapped_column(primary_key=True)
    seen: Mapped[float] = mapped_column(index=True)
    program_seen: Mapped[float] = mapped_column(default=0.0)


class PlanRow(Base):
    """The staged plan of a flag. `since`: when its step was reached or it was last resumed, less what was held then."""

    __tablename__ = "rollout_plan"

    flag: Mapped[str] = mapped_column(primary_key=True)
    steps_json: Mapped[str]
    step: Mapped[int]
    since: Mapped[float]
    paused_at: Mapped[float | None]
    actor: Mapped[str]
    reason: Mapped[str]


class GuardrailRow(Base):
    """The guardrail of a flag while it blocks increases. `since`: when there was trouble last. Of a step back that was
    refused: how often, and when it is tried again."""

    __tablename__ = "guardrail"

    flag: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[float]
    reason: Mapped[str]
    refusals: Mapped[int]
    retry_at: Mapped[float]


class BaselineRow(Base):
    """Attempts to connect, and those that failed, before the rollout that stands began: in the minutes from
    `from_minute` on, and before `until_minute`, in which nobody was in."""

    __tablename__ = "rollout_baseline"

    flag: Mapped[str] = mapped_column(primary_key=True)
    from_minute: Mapped[int]
    until_minute: Mapped[int]
    attempts: Mapped[int]
    failures: Mapped[int]


class ReportRow(Base):
    """What browsers of one cohort reported within one minute, added up. Histograms count by upper bound."""

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
