"""Accepts a command once for its id: rows, audit entry and event in one commit."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.audit import chain
from app.commands import command_progress, rejections
from app.commands.actions import SERVICE_LOCK, lock_key
from app.commands.models import CommandRow, ItemRow
from app.commands.request import CommandRequest
from app.commands.targets import ResolvedScope, resolve_targets
from app.db import insert_into, read, write
from app.eventlog.append import append
from app.infra.clock import utc_text
from app.infra.concurrency import yield_to_loop
from app.infra.problems import Problem
from app.reconciliation.loader import database_now
from app.reconciliation.models import Service

MAX_OPEN_COMMANDS_PER_USER = 5
MAX_OPEN_COMMANDS_PER_SERVICE = 20
ROWS_PER_INSERT = 200


@dataclass(frozen=True, slots=True)
class SubmittedCommand:
    command_id: str
    phase: str


def submit_command(request: CommandRequest, actor: str, address: str | None = None) -> SubmittedCommand:
    """Accept the command, or return it if it was accepted before. Raises `CommandRejected` and `Problem`."""
    try:
        return _find_earlier(request, actor) or _submit_first(request, actor)
    except Problem as problem:
        rejections.record_rejection(problem, request, actor, address)
        raise


def _submit_first(request: CommandRequest, actor: str) -> SubmittedCommand:
    try:
        return _insert_command(request, resolve_targets(request), actor)
    except rejections.CommandRejected:
        # The same command may have been accepted concurrently, and may be the cause of the rejection.
        earlier = _find_earlier(request, actor)
        if earlier is None:
            raise
        return earlier


def _find_earlier(request: CommandRequest, actor: str) -> SubmittedCommand | None:
    with read() as session:
        return _find_submitted(session, request, actor)


def _find_submitted(session: Session, request: CommandRequest, actor: str) -> SubmittedCommand | None:
    row = session.get(CommandRow, request.command_id)
    if row is None:
        return None
    if (row.body_hash, row.actor) != (request.body_hash, actor):
        raise rejections.reused_id_error()
    return SubmittedCommand(row.id, row.phase)


def _insert_command(request: CommandRequest, scope: ResolvedScope, actor: str) -> SubmittedCommand:
    """The insert decides which request is first. A later rejection rolls it back with the transaction."""
    with write() as session:
        if session.get_bind().dialect.name == "postgresql":
            # The counts must still hold at the commit. On SQLite write() allows one writer anyway.
            session.execute(sa.text("SELECT pg_advisory_xact_lock(4207005)"))
        if not _insert_row(session, _command_values(request, scope, actor, utc_text(database_now(session)))):
            known = _find_submitted(session, request, actor)
            assert known is not None  # noqa: S101 -- the insert conflicted with it
            return known
        if session.scalar(sa.select(Service.removed_at).where(Service.id == request.service)) is not None:
            raise rejections.not_watched_error(request.service)
        _check_limits(session, request, actor)
        _check_overlap(session, request, scope)
        _insert_items(session, request, scope)
        row = session.get_one(CommandRow, request.command_id)
        params = request.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"command_id"})
        target = rejections.format_audit_target(row.service_id, row.target)
        entry = chain.Entry(
            actor,
            row.action,
            target,
            stage="accepted",
            command_id=row.id,
            params=params,
        )
        row.accepted_audit_id = chain.record(session, entry)
        append(session, [command_progress.build_event(row)])
        return SubmittedCommand(row.id, row.phase)


def _command_values(request: CommandRequest, scope: ResolvedScope, actor: str, at: str) -> dict[str, Any]:
    """`at` is by the database's clock, because the runner computes the command's age with it."""
    return {
        "id": request.command_id,
        "body_hash": request.body_hash,
        "asked_json": request.canonical_json,
        "action": request.action_type,
        "service_id": request.service,
        "target": scope.summary,
        "actor": actor,
        "phase": "queued",
        "created_at": at,
        "total": len(scope.targets),
        "at_most": scope.at_most,
    }


def _check_limits(session: Session, request: CommandRequest, actor: str) -> None:
    """The counts include the command itself."""
    open_ = sa.select(sa.func.count()).select_from(CommandRow).where(CommandRow.ended_at.is_(None))
    if (session.scalar(open_.where(CommandRow.actor == actor)) or 0) > MAX_OPEN_COMMANDS_PER_USER:
        raise rejections.too_many_commands_error("You may have", MAX_OPEN_COMMANDS_PER_USER)
    if (session.scalar(open_.where(CommandRow.service_id == request.service)) or 0) > MAX_OPEN_COMMANDS_PER_SERVICE:
        raise rejections.too_many_commands_error("A service takes", MAX_OPEN_COMMANDS_PER_SERVICE)


def _check_overlap(session: Session, request: CommandRequest, scope: ResolvedScope) -> None:
    """A restart conflicts with every command; a purge with commands on jobs of its queue."""
    held = sa.select(ItemRow.command_id).where(ItemRow.service_id == request.service, ItemRow.held)
    queues = {target.queue for target in scope.targets if target.queue is not None}
    if request.action.scope == "service":
        overlap: sa.ColumnElement[bool] = sa.true()
    elif request.action.scope == "queue":
        overlap = (ItemRow.hold == SERVICE_LOCK) | ItemRow.queue.in_(queues)
    else:
        overlap = ItemRow.hold.in_([SERVICE_LOCK, *(lock_key("queue", queue) for queue in sorted(queues))])
    _reject_overlap(session, session.scalar(held.where(overlap).limit(1)))


def _insert_items(session: Session, request: CommandRequest, scope: ResolvedScope) -> None:
    """Insert one open item per target. The unique index skips targets that another command has locked."""
    common = {"command_id": request.command_id, "service_id": request.service, "action": request.action_type}
    waits = {**common, "held": True, "state": "waiting"}
    rows = [
        {**waits, "place": place, "target": target.target, "queue": target.queue, "hold": target.lock_key}
        for place, target in enumerate(scope.targets)
    ]
    # executemany: a single statement with this many values takes half a second to compile.
    statement = insert_into(ItemRow.__table__).on_conflict_do_nothing()
    for start in range(0, len(rows), ROWS_PER_INSERT):
        session.connection().execute(statement, rows[start : start + ROWS_PER_INSERT])
        yield_to_loop()
    mine = sa.select(sa.func.count()).select_from(ItemRow).where(ItemRow.command_id == request.command_id)
    if session.scalar(mine) == len(rows):
        return
    for start in range(0, len(rows), ROWS_PER_INSERT):
        taken = sa.select(ItemRow.command_id).where(
            ItemRow.service_id == request.service,
            ItemRow.held,
            ItemRow.hold.in_([target.lock_key for target in scope.targets[start : start + ROWS_PER_INSERT]]),
            ItemRow.command_id != request.command_id,
        )
        _reject_overlap(session, session.scalar(taken.limit(1)))


def _reject_overlap(session: Session, command_id: str | None) -> None:
    if command_id is not None:
        other = session.get_one(CommandRow, command_id)
        raise rejections.overlap_error(command_id, f"{other.action} of {other.target} by {other.actor}")


def _insert_row(session: Session, row: dict[str, Any]) -> bool:
    """True if the id was free. Uses RETURNING because drivers disagree on `rowcount` here."""
    statement = insert_into(CommandRow.__table__).on_conflict_do_nothing().values(row).returning(CommandRow.id)
    return session.connection().execute(statement).one_or_none() is not None
