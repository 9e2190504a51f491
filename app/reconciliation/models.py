"""Tables of services, their known state, open items, check samples and the record of state changes.

Times are text as `app.infra.clock` writes them: they sort, and read the same everywhere.
"""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, Session, mapped_column

from app.db import Base


class Service(Base):
    """A watched job service. Removed services keep their row, because the record names them.

    `url` never holds a password, so it can be shown anywhere. `password` is read only by the code that builds the
    source; `password_env` names an environment variable to take it from instead.
    """

    __tablename__ = "service"
    __table_args__ = (sa.CheckConstraint("origin IN ('file', 'admin')", name="origin"),)

    id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    name: Mapped[str] = mapped_column(sa.Text)
    kind: Mapped[str] = mapped_column(sa.Text)
    url: Mapped[str] = mapped_column(sa.Text)
    options_json: Mapped[str] = mapped_column(sa.Text, server_default="{}")
    password: Mapped[str | None] = mapped_column(sa.Text, deferred=True)
    password_env: Mapped[str | None] = mapped_column(sa.Text)
    origin: Mapped[str] = mapped_column(sa.Text)
    registered_at: Mapped[str] = mapped_column(sa.Text)
    removed_at: Mapped[str | None] = mapped_column(sa.Text)


class ServiceState(Base):
    """What Beacon knows of a service, besides its jobs.

    `status` and `payload_json` are those of its newest `reconciliation.update`, null before the first one. `checked_at`
    and `latency_ms` are of the newest check that was answered, as are `health` (the service's own word) and
    `workers_json` (null if the service cannot tell). `last_poll_at`, `reason` and `waited_ms` are of the newest
    attempt. `heard_at` is the start of the newest snapshot whose job ids were used. `version` grows whenever the known
    state changes: results computed from an older version are not written. `log_cursor` is the newest event of the log
    that is part of the known state. `flapping_json` counts how often the state changed (`app.reconciliation.flapping`).
    `figures_json`, `cut_json`, `unserved_json` and `loss_json` come from the newest snapshot that was used
    (`app.reconciliation.row_memory`).
    """

    __tablename__ = "service_state"
    __table_args__ = (sa.CheckConstraint("status IN ('verified', 'stale', 'discrepancy')", name="status"),)

    service_id: Mapped[str] = mapped_column(sa.Text, sa.ForeignKey("service.id"), primary_key=True)
    version: Mapped[int] = mapped_column(server_default="0")
    status: Mapped[str | None] = mapped_column(sa.Text)
    payload_json: Mapped[str | None] = mapped_column(sa.Text)
    checked_at: Mapped[str | None] = mapped_column(sa.Text)
    last_verified_at: Mapped[str | None] = mapped_column(sa.Text)
    latency_ms: Mapped[int | None]
    last_poll_at: Mapped[str | None] = mapped_column(sa.Text)
    last_answer_at: Mapped[str | None] = mapped_column(sa.Text)
    failing_since: Mapped[str | None] = mapped_column(sa.Text)
    waited_ms: Mapped[int | None]
    reason: Mapped[str | None] = mapped_column(sa.Text)
    heard_at: Mapped[str | None] = mapped_column(sa.Text)
    instance_id: Mapped[str | None] = mapped_column(sa.Text)
    as_of: Mapped[str | None] = mapped_column(sa.Text)
    revision: Mapped[str | None] = mapped_column(sa.Text)
    counts_only: Mapped[bool] = mapped_column(server_default=sa.false())
    health: Mapped[str | None] = mapped_column(sa.Text)
    workers_json: Mapped[str | None] = mapped_column(sa.Text)
    log_cursor: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    flapping_json: Mapped[str | None] = mapped_column(sa.Text)
    figures_json: Mapped[str | None] = mapped_column(sa.Text)
    cut_json: Mapped[str | None] = mapped_column(sa.Text)
    unserved_json: Mapped[str | None] = mapped_column(sa.Text)
    loss_json: Mapped[str | None] = mapped_column(sa.Text)


class KnownJob(Base):
    """An unfinished job.

    `seen_at` is null while the newest snapshot showed the job, which is true of nearly all: a poll that changed nothing
    writes none of these rows. `ended_id` is the event that said that the job ended, if a later snapshot still showed
    it. `kept_s` is how long an ended job stays visible, if the job itself says so.
    """

    __tablename__ = "known_job"

    service_id: Mapped[str] = mapped_column(sa.Text, sa.ForeignKey("service.id"), primary_key=True)
    job_id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    state: Mapped[str] = mapped_column(sa.Text)
    queue: Mapped[str | None] = mapped_column(sa.Text)
    attempt: Mapped[int | None] = mapped_column(sa.BigInteger)
    seen_at: Mapped[str | None] = mapped_column(sa.Text)
    ended_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    kept_s: Mapped[float | None]


class OpenItem(Base):
    """A job that was declared missing, extra or unaccounted. Closed rows stay as history."""

    __tablename__ = "open_item"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('missing', 'extra', 'unaccounted')", name="kind"),
        sa.CheckConstraint(
            "closed_how IN ('reappeared', 'finished', 'requeued', 'accepted', 'expired')", name="closed_how"
        ),
        sa.CheckConstraint("(closed_at IS NULL) = (closed_how IS NULL)", name="closed"),
        sa.Index(
            "uq_open_item_open",
            "service_id",
            "job_id",
            "kind",
            unique=True,
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        ),
        sa.Index("ix_open_item_closed_at", "service_id", "closed_at"),
        sa.Index("ix_open_item_job", "service_id", "job_id"),
        sa.Index("ix_open_item_since", "kind", "since", "service_id"),
        sa.Index("ix_open_item_service", "kind", "service_id", "since"),
        sa.Index(
            "ix_open_item_still",
            "kind",
            "since",
            "service_id",
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    service_id: Mapped[str] = mapped_column(sa.Text, sa.ForeignKey("service.id"))
    job_id: Mapped[str] = mapped_column(sa.Text)
    kind: Mapped[str] = mapped_column(sa.Text)
    since: Mapped[str] = mapped_column(sa.Text)
    last_state: Mapped[str] = mapped_column(sa.Text)
    queue: Mapped[str | None] = mapped_column(sa.Text)
    closed_at: Mapped[str | None] = mapped_column(sa.Text)
    closed_how: Mapped[str | None] = mapped_column(sa.Text)
    closed_by: Mapped[str | None] = mapped_column(sa.Text)
    close_reason: Mapped[str | None] = mapped_column(sa.Text)


class CheckSample(Base):
    """The figures of one poll, for the history of a service; pruned by age."""

    __tablename__ = "check_sample"
    __table_args__ = (
        sa.Index("ix_check_sample_service_id", "service_id", "at"),
        sa.Index("ix_check_sample_at", "at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True)
    service_id: Mapped[str] = mapped_column(sa.Text)
    at: Mapped[str] = mapped_column(sa.Text)
    ok: Mapped[bool]
    status: Mapped[str | None] = mapped_column(sa.Text)
    latency_ms: Mapped[int]
    counts_json: Mapped[str] = mapped_column(sa.Text)


class DiscrepancyEvent(Base):
    """One change of a service's state. Permanent: triggers of the migration refuse every update and delete.

    `reason` and `findings_json` are as published. `episode` is the first row of the episode that this row continues;
    null if it begins one.
    """

    __tablename__ = "discrepancy_event"
    __table_args__ = (
        sa.CheckConstraint("status IN ('verified', 'stale', 'discrepancy')", name="status"),
        sa.Index("ix_discrepancy_event_timestamp", "timestamp", "id"),
        sa.Index("ix_discrepancy_event_service", "service", "timestamp", "id"),
        sa.Index("ix_discrepancy_event_status", "status", "timestamp", "id"),
        sa.Index("ix_discrepancy_event_each", "status", "service", "timestamp", "id"),
        sa.Index(
            "ix_discrepancy_event_episode",
            "episode",
            sqlite_where=sa.text("episode IS NOT NULL"),
            postgresql_where=sa.text("episode IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    timestamp: Mapped[str] = mapped_column(sa.Text)
    service: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[str] = mapped_column(sa.Text)
    counts_json: Mapped[str] = mapped_column(sa.Text)
    checksum: Mapped[str] = mapped_column(sa.Text)
    latency_ms: Mapped[int]
    discrepancy_details_json: Mapped[str | None] = mapped_column(sa.Text)
    reason: Mapped[str | None] = mapped_column(sa.Text)
    findings_json: Mapped[str | None] = mapped_column(sa.Text)
    episode: Mapped[str | None] = mapped_column(sa.Text)


def prune_samples(session: Session, before: str, limit: int = 1_000) -> int:
    """Delete at most `limit` samples older than `before`, and return how many. Repeat while it returns `limit`."""
    oldest = sa.select(CheckSample.id).where(CheckSample.at < before).order_by(CheckSample.at).limit(limit)
    ids = list(session.scalars(oldest))
    if ids:
        session.execute(sa.delete(CheckSample).where(CheckSample.id.in_(ids)))
    return len(ids)
