"""Taking a command on, once for its id: its rows, its audit entry and its event in one commit."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.audit import chain
from app.commands import command_progress, rejections
from app.commands.models import CommandRow, ItemRow
from app.commands.request import Asked
from app.commands.targets import Scope, resolve
from app.db import read, write
from app.eventlog.append import append
from app.infra.clock import utc_text
from app.infra.concurrency import yield_to_loop
from app.infra.problems import Problem
from app.reconciliation.loader import database_now
from app.reconciliation.models import Service

MOST_A_USER = 5
MOST_A_SERVICE = 20
ROWS = 200


@dataclass(frozen=True, slots=True)
class Taken:
    command_id: str
    phase: str


def take_on(asked: Asked, actor: str, address: str | None = None) -> Taken:
    """The command and its phase now, whether it was taken on just now or before. Raises `Refused` and `Problem`."""
    try:
        return _earlier(asked, actor) or _first(asked, actor)
    except Problem as problem:
        rejections.record(problem, asked, actor, address)
        raise


def _first(asked: Asked, actor: str) -> Taken:
    try:
        return _claim(asked, resolve(asked), actor)
    except rejections.Refused:
        # The same command may have been taken on meanwhile, and may be what this one stumbled over.
        earlier = _earlier(asked, actor)
        if earlier is None:
            raise
        return earlier


def _earlier(asked: Asked, actor: str) -> Taken | None:
    with read() as session:
        return _known(session, asked, actor)


def _known(session: Session, asked: Asked, actor: str) -> Taken | None:
    row = session.get(CommandRow, asked.command_id)
    if row is None:
        return None
    if (row.body_hash, row.actor) != (asked.hash, actor):
        raise rejections.other_body()
    return Taken(row.id, row.phase)


def _claim(asked: Asked, scope: Scope, actor: str) -> Taken:
    """One statement decides who is first. Whatever is refused after it takes it back with the transaction."""
    with write() as session:
        if session.get_bind().dialect.name == "postgresql":
            # What is counted here must still be so at the commit; SQLite's write() has one writer anyway.
            session.execute(sa.text("SELECT pg_advisory_xact_lock(4207005)"))
        if not _insert(session, _row(asked, scope, actor, utc_text(database_now(session)))):
            known = _known(session, asked, actor)
            assert known is not None  # noqa: S101 -- the insert has just met it
            return known
        if session.scalar(sa.select(Service.removed_at).where(Service.id == asked.service)) is not None:
            raise rejections.not_watched(asked.service)
        _check_limits(session, asked, actor)
        _check_overlap(session, asked, scope)
        _hold(session, asked, scope)
        row = session.get_one(CommandRow, asked.command_id)
        params = asked.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"command_id"})
        target = rejections.audit_target(row.service_id, row.target)
        entry = chain.Entry(
            actor,
            row.action,
            target,
            stage="accepted",
            command_id=row.id,
            params=params,
        )
        row.accepted_audit_id = chain.record(session, entry)
        append(session, [command_progress.event(row)])
        return Taken(row.id, row.phase)


def _row(asked: Asked, scope: Scope, actor: str, at: str) -> dict[str, Any]:
    """`at`: by the database's clock, as whoever takes it asks how old it is."""
    return {
        "id": asked.command_id,
        "body_hash": asked.hash,
        "asked_json": asked.text,
        "action": asked.action_type,
        "service_id": asked.service,
        "target": scope.words,
        "actor": actor,
        "phase": "queued",
        "created_at": at,
        "total": len(scope.things),
        "at_most": scope.at_most,
    }


def _check_limits(session: Session, asked: Asked, actor: str) -> None:
    """The command itself is counted already."""
    open_ = sa.select(sa.func.count()).select_from(CommandRow).where(CommandRow.ended_at.is_(None))
    if (session.scalar(open_.where(CommandRow.actor == actor)) or 0) > MOST_A_USER:
        raise rejections.too_many_commands("You may have", MOST_A_USER)
    if (session.scalar(open_.where(CommandRow.service_id == asked.service)) or 0) > MOST_A_SERVICE:
        raise rejections.too_many_commands("A service takes", MOST_A_SERVICE)


def _check_overlap(session: Session, asked: Asked, scope: Scope) -> None:
    """A restart overlaps with everything; a purge with what is done to jobs of its queue."""
    held = sa.select(ItemRow.command_id).where(ItemRow.service_id == asked.service, ItemRow.held)
    queues = {thing.queue for thing in scope.things if thing.queue is not None}
    if asked.action_type == "restart-service":
        overlap: sa.ColumnElement[bool] = sa.true()
    elif asked.action_type == "purge-queue":
        overlap = (ItemRow.hold == "service") | ItemRow.queue.in_(queues)
    else:
        overlap = ItemRow.hold.in_(["service", *(f"queue:{queue}" for queue in sorted(queues))])
    _refuse(session, session.scalar(held.where(overlap).limit(1)))


def _hold(session: Session, asked: Asked, scope: Scope) -> None:
    """One open item for each thing, by the unique index: what is missing afterwards belongs to another command."""
    common = {"command_id": asked.command_id, "service_id": asked.service, "action": asked.action_type}
    waits = {**common, "held": True, "state": "waiting"}
    rows = [
        {**waits, "place": place, "target": thing.target, "queue": thing.queue, "hold": thing.hold}
        for place, thing in enumerate(scope.things)
    ]
    # Many sets of values for one statement: as one statement with many values it takes half a second to compile.
    statement = _unless_there(session, ItemRow)
    for start in range(0, len(rows), ROWS):
        session.connection().execute(statement, rows[start : start + ROWS])
        yield_to_loop()
    mine = sa.select(sa.func.count()).select_from(ItemRow).where(ItemRow.command_id == asked.command_id)
    if session.scalar(mine) == len(rows):
        return
    for start in range(0, len(rows), ROWS):
        taken = sa.select(ItemRow.command_id).where(
            ItemRow.service_id == asked.service,
            ItemRow.held,
            ItemRow.hold.in_([thing.hold for thing in scope.things[start : start + ROWS]]),
            ItemRow.command_id != asked.command_id,
        )
        _refuse(session, session.scalar(taken.limit(1)))


def _refuse(session: Session, command_id: str | None) -> None:
    if command_id is not None:
        other = session.get_one(CommandRow, command_id)
        raise rejections.overlapping(command_id, f"{other.action} of {other.target} by {other.actor}")


def _insert(session: Session, row: dict[str, Any]) -> bool:
    """Whether the id was free: returned by the statement, because drivers do not agree on `rowcount` here."""
    statement = _unless_there(session, CommandRow).values(row).returning(CommandRow.id)
    return session.connection().execute(statement).one_or_none() is not None


def _unless_there(session: Session, model: type[Any]) -> Any:
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    return dialect.insert(model.__table__).on_conflict_do_nothing()
