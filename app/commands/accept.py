"""Taking a command on, once for its id: its rows, its audit entry and its event in one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.audit import chain
from app.clock import utc_text
from app.commands import refusals, telling
from app.commands.asked import Asked
from app.commands.models import CommandRow, ItemRow
from app.commands.scope import Scope, resolve
from app.db import read, write
from app.eventlog.append import append
from app.reconciliation.models import Service

MOST_A_USER = 5
MOST_A_SERVICE = 20
ROWS = 500
_item = cast(sa.Table, ItemRow.__table__)


@dataclass(frozen=True, slots=True)
class Taken:
    command_id: str
    phase: str


def take_on(asked: Asked, actor: str, address: str | None = None) -> Taken:
    """The command and its phase now, whether it was taken on just now or before. Raises `Refused` and `Problem`."""
    earlier = _earlier(asked, actor)
    if earlier is not None:
        return earlier
    try:
        return _claim(asked, resolve(asked), actor, address)
    except refusals.Refused as refused:
        # The same command may have been taken on meanwhile, and may be what this one stumbled over.
        earlier = _earlier(asked, actor)
        if earlier is not None:
            return earlier
        refusals.record(refused, asked, actor)
        raise


def _earlier(asked: Asked, actor: str) -> Taken | None:
    with read() as session:
        return _known(session, asked, actor)


def _known(session: Session, asked: Asked, actor: str) -> Taken | None:
    row = session.get(CommandRow, asked.command_id)
    if row is None:
        return None
    if (row.body_hash, row.actor) != (asked.hash, actor):
        raise refusals.other_body()
    return Taken(row.id, row.phase)


def _claim(asked: Asked, scope: Scope, actor: str, address: str | None) -> Taken:
    """One statement decides who is first. Whatever is refused after it takes it back with the transaction."""
    with write() as session:
        if session.get_bind().dialect.name == "postgresql":
            # What is counted here must still be so at the commit; SQLite's write() has one writer anyway.
            session.execute(sa.text("SELECT pg_advisory_xact_lock(4207005)"))
        if not _insert(session, CommandRow, [_row(asked, scope, actor)]):
            known = _known(session, asked, actor)
            assert known is not None  # noqa: S101 -- the insert has just met it
            return known
        if session.scalar(sa.select(Service.removed_at).where(Service.id == asked.service)) is not None:
            raise refusals.not_watched(asked.service)
        _check_limits(session, asked, actor)
        _check_overlap(session, asked, scope)
        _hold(session, asked, scope)
        row = session.get_one(CommandRow, asked.command_id)
        params = asked.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"command_id"})
        target = refusals.audit_target(row.service_id, row.target)
        entry = chain.Entry(
            actor,
            row.action,
            target,
            stage="accepted",
            command_id=row.id,
            params={**params, "address": address} if address else params,
        )
        row.accepted_audit_id = chain.record(session, entry)
        append(session, [telling.event(row)])
        return Taken(row.id, row.phase)


def _row(asked: Asked, scope: Scope, actor: str) -> dict[str, Any]:
    return {
        "id": asked.command_id,
        "body_hash": asked.hash,
        "asked_json": asked.text,
        "action": asked.action_type,
        "service_id": asked.service,
        "target": scope.words,
        "actor": actor,
        "phase": "queued",
        "created_at": utc_text(),
        "total": len(scope.things),
        "at_most": scope.at_most,
    }


def _check_limits(session: Session, asked: Asked, actor: str) -> None:
    """The command itself is counted already."""
    open_ = sa.select(sa.func.count()).select_from(CommandRow).where(CommandRow.ended_at.is_(None))
    if (session.scalar(open_.where(CommandRow.actor == actor)) or 0) > MOST_A_USER:
        raise refusals.too_many_commands("You may have", MOST_A_USER)
    if (session.scalar(open_.where(CommandRow.service_id == asked.service)) or 0) > MOST_A_SERVICE:
        raise refusals.too_many_commands("A service takes", MOST_A_SERVICE)


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
    things = list(enumerate(scope.things))
    for start in range(0, len(things), ROWS):
        part = things[start : start + ROWS]
        rows = [
            {
                "command_id": asked.command_id,
                "place": place,
                "service_id": asked.service,
                "action": asked.action_type,
                "target": thing.target,
                "queue": thing.queue,
                "hold": thing.hold,
                "held": True,
                "state": "waiting",
            }
            for place, thing in part
        ]
        if _insert(session, ItemRow, rows) < len(rows):
            holds = [thing.hold for _, thing in part]
            taken = sa.select(_item.c.command_id).where(
                _item.c.service_id == asked.service,
                _item.c.held,
                _item.c.hold.in_(holds),
                _item.c.command_id != asked.command_id,
            )
            _refuse(session, session.scalar(taken.limit(1)))


def _refuse(session: Session, command_id: str | None) -> None:
    if command_id is not None:
        other = session.get_one(CommandRow, command_id)
        raise refusals.overlapping(command_id, f"{other.action} of {other.target} by {other.actor}")


def _insert(session: Session, model: type[Any], rows: Sequence[dict[str, Any]]) -> int:
    """How many of `rows` met no conflict: returned and counted, because drivers do not agree on `rowcount` here."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(model.__table__).values(list(rows)).on_conflict_do_nothing()
    return len(session.connection().execute(statement.returning(sa.literal(1))).all())
