"""Tables of failed jobs and of their causes. Only `app.failures` writes them."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base


class FailedJob(Base):
    """A job that its service shows as failed, or did until `gone_at`.

    `seen_at` is the first poll that found it failed. `read_at` and everything after it are null until its facts were
    read; `failed_at` is the end that the service tells, or else `seen_at`. A job that fails again after it was gone
    starts anew. `text_id` is the row of its message in SQLite's full-text index `failure_text`, which triggers of the
    migration keep; PostgreSQL indexes the message itself.
    """

    __tablename__ = "failed_job"
    __table_args__ = (
        # What is not read yet, oldest first.
        sa.Index(
            "ix_failed_job_unread",
            "service_id",
            "seen_at",
            sqlite_where=sa.text("read_at IS NULL AND gone_at IS NULL"),
            postgresql_where=sa.text("read_at IS NULL AND gone_at IS NULL"),
        ),
        sa.Index("ix_failed_job_group", "group_id", "failed_at"),
        # The newest of a cause, however many of them were retried since.
        sa.Index(
            "ix_failed_job_open",
            "group_id",
            "failed_at",
            "job_id",
            sqlite_where=sa.text("gone_at IS NULL"),
            postgresql_where=sa.text("gone_at IS NULL"),
        ),
        sa.Index("ix_failed_job_recent", "failed_at", "group_id"),
        # Without the failed ones: SQLite would take it for a good way to them.
        sa.Index(
            "ix_failed_job_gone",
            "gone_at",
            sqlite_where=sa.text("gone_at IS NOT NULL"),
            postgresql_where=sa.text("gone_at IS NOT NULL"),
        ),
        sa.Index("ix_failed_job_text", "text_id", unique=True, sqlite_where=sa.text("text_id IS NOT NULL")).ddl_if(
            dialect="sqlite"
        ),
    )

    service_id: Mapped[str] = mapped_column(sa.Text, sa.ForeignKey("service.id"), primary_key=True)
    job_id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    seen_at: Mapped[str] = mapped_column(sa.Text)
    gone_at: Mapped[str | None] = mapped_column(sa.Text)
    read_at: Mapped[str | None] = mapped_column(sa.Text)
    failed_at: Mapped[str | None] = mapped_column(sa.Text)
    group_id: Mapped[str | None] = mapped_column(sa.Text)
    queue: Mapped[str | None] = mapped_column(sa.Text)
    worker: Mapped[str | None] = mapped_column(sa.Text)
    message: Mapped[str | None] = mapped_column(sa.Text)
    attempt: Mapped[int | None] = mapped_column(sa.BigInteger)
    max_attempts: Mapped[int | None] = mapped_column(sa.BigInteger)
    run_s: Mapped[float | None] = mapped_column(sa.Double)
    text_id: Mapped[int | None] = mapped_column(sa.BigInteger)


class FailureGroup(Base):
    """Failures with the same cause (`app.failures.grouping`). `jobs` counts those that are failed now; `message` is the
    newest one."""

    __tablename__ = "failure_group"
    __table_args__ = (
        sa.Index("ix_failure_group_service", "service_id", "jobs"),
        sa.Index("ix_failure_group_last_at", "last_at", "id"),
    )

    id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    service_id: Mapped[str] = mapped_column(sa.Text, sa.ForeignKey("service.id"))
    function: Mapped[str | None] = mapped_column(sa.Text)
    error_type: Mapped[str | None] = mapped_column(sa.Text)
    message: Mapped[str | None] = mapped_column(sa.Text)
    frame: Mapped[str | None] = mapped_column(sa.Text)
    jobs: Mapped[int] = mapped_column(server_default="0")
    first_at: Mapped[str] = mapped_column(sa.Text)
    last_at: Mapped[str] = mapped_column(sa.Text)
    muted_until: Mapped[str | None] = mapped_column(sa.Text)
    muted_by: Mapped[str | None] = mapped_column(sa.Text)


class FailureShare(Base):
    """How many jobs that are failed now with one cause have a queue, a worker, or an attempt in common.

    Kept beside the jobs like `FailureGroup.jobs`, because a page shows 200 causes of 100,000 jobs. `kind` is `queue`,
    `worker` or `attempt`; the name of an attempt is `3/5`, or `3/` if the most is not known.
    """

    __tablename__ = "failure_share"

    group_id: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    kind: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    jobs: Mapped[int]


class FailureLocation(Base):
    """A queue or a worker in which jobs have failed; `last_at` is when one did last. It makes them searchable."""

    __tablename__ = "failure_location"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('queue', 'worker')", name="kind"),
        sa.Index("ix_failure_location_last_at", "last_at"),
    )

    service_id: Mapped[str] = mapped_column(sa.Text, sa.ForeignKey("service.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    name: Mapped[str] = mapped_column(sa.Text, primary_key=True)
    last_at: Mapped[str] = mapped_column(sa.Text)
