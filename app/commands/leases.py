"""Who runs a command: one runner at a time, fenced, by the database's clock.

A runner may be stopped for minutes and go on in the middle of a function. So every transaction made for a command
begins with `Claim.guard`: whoever came too late changes nothing, and asks no service for anything.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands import command_progress
from app.commands.models import CommandRow, ItemRow
from app.db import now_epoch, read, write
from app.eventlog.append import append
from app.infra.clock import utc_text
from app.reconciliation.loader import database_now

LEASE_S = 9.0
LOOKED_AT = 200
# Taken so often from runners that had died: something in it kills them.
MOST_CRASHES = 10


class Lost(Exception):
    """Another runner has the command now, or may take it any moment."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A command as one runner took it at one moment."""

    command_id: str
    runner: str
    fence: int
    service_id: str = ""

    def guard(self, session: Session) -> CommandRow:
        """The command's row, locked, with a fresh lease: the first statement of every transaction. Raises `Lost`."""
        if not self._renewed(session):
            raise Lost(f"{self.runner} no longer has the command {self.command_id}")
        return session.get_one(CommandRow, self.command_id, populate_existing=True)

    def _renewed(self, session: Session) -> bool:
        mine = sa.update(CommandRow).where(
            CommandRow.id == self.command_id,
            CommandRow.runner == self.runner,
            CommandRow.fence == self.fence,
            CommandRow.ended_at.is_(None),
            CommandRow.lease_until > now_epoch(),
        )
        return _changed(session, mine.values(lease_until=now_epoch() + LEASE_S))


def free(limit: int, shares: Mapping[str, int] | None = None, share: int = 1_000_000) -> list[str]:
    """Commands that wait for a runner, the oldest first: queued ones, and those whose runner is gone.

    `shares`: how many of each service run here already. None gets more than `share`: one that is dead starves no other.
    """
    taken = Counter(shares)
    crowded = [service_id for service_id, count in taken.items() if count >= share]
    waiting = sa.select(CommandRow.id, CommandRow.service_id).where(
        CommandRow.ended_at.is_(None), CommandRow.lease_until <= now_epoch(), CommandRow.service_id.not_in(crowded)
    )
    found: list[str] = []
    with read() as session:
        rows = session.execute(waiting.order_by(CommandRow.created_at, CommandRow.id).limit(LOOKED_AT)).all()
    for command_id, service_id in rows:
        if taken[service_id] < share and len(found) < limit:
            taken[service_id] += 1
            found.append(command_id)
    return found


def take(command_id: str, runner: str) -> Claim | None:
    """One compare-and-set makes this runner the only one. None where another one was first."""
    with write() as session:
        fence = session.execute(_take(command_id, runner)).scalar_one_or_none()
        if fence is None:
            return None
        row = session.get_one(CommandRow, command_id)
        if row.phase == "queued":
            row.phase, row.started_at = "running", utc_text(database_now(session))
            command_progress.log(row, ["running"])
        else:
            _take_over(session, row)
        append(session, [command_progress.event(row)])
        return Claim(command_id, runner, fence, row.service_id)


def renew(claims: Iterable[Claim]) -> None:
    """Put off the end of these leases; of one that is lost already its runner hears at its next step."""
    with write() as session:
        for claim in claims:
            claim._renewed(session)


def hand_over(claim: Claim, why: str) -> None:
    """Let another runner have it at once. What was asked and not answered is settled by reading. Raises `Lost`."""
    with write() as session:
        row = claim.guard(session)
        unsure = _unsure(session, claim.command_id)
        row.lease_until, row.runner = 0.0, None  # nobody's: in order, so that the next take is no take-over
        if unsure:
            row.phase = "unknown"
        command_progress.log(row, [why])
        append(session, [command_progress.event(row)])


def _take(command_id: str, runner: str) -> sa.Executable:
    free_one = sa.update(CommandRow).where(
        CommandRow.id == command_id, CommandRow.ended_at.is_(None), CommandRow.lease_until <= now_epoch()
    )
    values = {
        "runner": runner,
        "fence": CommandRow.fence + 1,
        "crashes": CommandRow.crashes + sa.case((CommandRow.runner.is_(None), 0), else_=1),
        "lease_until": now_epoch() + LEASE_S,
    }
    return free_one.values(values).returning(CommandRow.fence).execution_options(synchronize_session=False)


def _take_over(session: Session, row: CommandRow) -> None:
    """Its runner is gone. Unknown is what it asked last: that is read now, never asked again."""
    unsure = _unsure(session, row.id)
    row.phase = "unknown" if unsure else "running"
    happened = "it is not known whether that was done: reading it" if unsure else "going on"
    command_progress.log(row, [f"its worker ended before it was finished; {happened}"])


def _unsure(session: Session, command_id: str) -> bool:
    asked = sa.select(ItemRow.place).where(ItemRow.command_id == command_id, ItemRow.state.in_(("running", "unknown")))
    return session.scalar(asked.limit(1)) is not None


def _changed(session: Session, statement: sa.Update) -> bool:
    done = session.execute(statement, execution_options={"synchronize_session": False})
    return cast(sa.CursorResult[Any], done).rowcount == 1
