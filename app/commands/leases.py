"""Fenced leases by the database's clock: one runner at a time has a command.

A runner may be stopped for minutes and resume in the middle of a function. Every transaction for a command therefore
begins with `Claim.lock_command`: a runner that lost its lease changes nothing and sends nothing to the service.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands import command_progress
from app.commands.models import CommandRow, ItemRow
from app.db import count_changed, now_epoch, read, write
from app.eventlog.append import append
from app.infra.clock import utc_text
from app.reconciliation.loader import database_now

LEASE_S = 9.0
MAX_CANDIDATES = 200
# A command whose runner died this often is assumed to be the cause.
MAX_CRASHES = 10


class CommandLeaseLost(Exception):
    """Another runner has the command, or may claim it at any moment."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One runner's hold on a command; `fence` distinguishes it from earlier and later holds."""

    command_id: str
    runner: str
    fence: int
    service_id: str = ""

    def lock_command(self, session: Session) -> CommandRow:
        """Lock the command's row and extend its lease. Begins every transaction. Raises `CommandLeaseLost`."""
        if not self._extend(session):
            raise CommandLeaseLost(f"lease lost: runner={self.runner} command_id={self.command_id}")
        return session.get_one(CommandRow, self.command_id, populate_existing=True)

    def _extend(self, session: Session) -> bool:
        mine = sa.update(CommandRow).where(
            CommandRow.id == self.command_id,
            CommandRow.runner == self.runner,
            CommandRow.fence == self.fence,
            CommandRow.ended_at.is_(None),
            CommandRow.lease_until > now_epoch(),
        )
        return count_changed(session, mine.values(lease_until=now_epoch() + LEASE_S)) == 1


def find_claimable(
    limit: int, running_per_service: Mapping[str, int] | None = None, max_per_service: int = 1_000_000
) -> list[str]:
    """Ids of commands that wait for a runner, oldest first: queued ones, and those whose lease expired.

    `running_per_service` counts the commands that already run here. No service gets more than `max_per_service`, so
    that an unresponsive service does not starve the others.
    """
    taken = Counter(running_per_service)
    crowded = [service_id for service_id, count in taken.items() if count >= max_per_service]
    waiting = sa.select(CommandRow.id, CommandRow.service_id).where(
        CommandRow.ended_at.is_(None), CommandRow.lease_until <= now_epoch(), CommandRow.service_id.not_in(crowded)
    )
    found: list[str] = []
    with read() as session:
        rows = session.execute(waiting.order_by(CommandRow.created_at, CommandRow.id).limit(MAX_CANDIDATES)).all()
    for command_id, service_id in rows:
        if taken[service_id] < max_per_service and len(found) < limit:
            taken[service_id] += 1
            found.append(command_id)
    return found


def claim_command(command_id: str, runner: str) -> Claim | None:
    """Claim a command with one compare-and-set. None if another runner was first."""
    with write() as session:
        fence = session.execute(_claim_statement(command_id, runner)).scalar_one_or_none()
        if fence is None:
            return None
        row = session.get_one(CommandRow, command_id)
        if row.phase == "queued":
            row.phase, row.started_at = "running", utc_text(database_now(session))
            command_progress.append_log(row, ["running"])
        else:
            _resume_abandoned(session, row)
        append(session, [command_progress.build_event(row)])
        return Claim(command_id, runner, fence, row.service_id)


def renew_leases(claims: Iterable[Claim]) -> None:
    """Extend these leases. A runner whose lease is already lost learns of it in its next transaction."""
    with write() as session:
        for claim in claims:
            claim._extend(session)


def hand_over(claim: Claim, why: str) -> None:
    """Release the command to another runner, which reads the outcome of unanswered items. Raises `CommandLeaseLost`."""
    with write() as session:
        row = claim.lock_command(session)
        is_unanswered = _has_unanswered_item(session, claim.command_id)
        row.lease_until, row.runner = 0.0, None  # without a runner the next claim does not count as a crash
        if is_unanswered:
            row.phase = "unknown"
        command_progress.append_log(row, [why])
        append(session, [command_progress.build_event(row)])


def _claim_statement(command_id: str, runner: str) -> sa.Executable:
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


def _resume_abandoned(session: Session, row: CommandRow) -> None:
    """Continue the command of a runner that died. Unanswered items are read, never sent again."""
    is_unanswered = _has_unanswered_item(session, row.id)
    row.phase = "unknown" if is_unanswered else "running"
    happened = "the last outcome is unknown: checking the service" if is_unanswered else "continuing"
    command_progress.append_log(row, [f"the worker died before the command finished; {happened}"])


def _has_unanswered_item(session: Session, command_id: str) -> bool:
    mine = sa.select(ItemRow.place).where(ItemRow.command_id == command_id, ItemRow.state.in_(("running", "unknown")))
    return session.scalar(mine.limit(1)) is not None
