"""A service whose words a test writes, and commands run against it without a server, a runner or a clock."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from app.audit.models import AuditRow
from app.commands import command_progress, leases, submit
from app.commands.actions import ACTIONS
from app.commands.executor import Execution
from app.commands.models import CommandRow, ItemRow
from app.commands.request import CommandRequest
from app.db import now_epoch, read, write
from app.infra.clock import utc_now
from app.sources.protocol import Capabilities, JobDetail, Operation, OperationResult
from tests.commands.operator_desk import new_id

Said = OperationResult | Exception | None


@dataclass
class Script:
    """A service that answers what it is told, the last word again and again."""

    acts: list[Said] = field(default_factory=lambda: [OperationResult("done", "It is queued.")])
    settles: list[Said] = field(default_factory=lambda: [None])
    asked: list[Operation] = field(default_factory=list)
    read_at: list[datetime] = field(default_factory=list)
    capabilities: Capabilities = field(default_factory=lambda: Capabilities("lookup", {"detail": "it does not tell"}))
    details: list[JobDetail | None] = field(default_factory=lambda: [None])
    on_act: Callable[[], None] = lambda: None
    on_read: Callable[[], None] = lambda: None

    def execute(self, order: Operation) -> OperationResult:
        self.asked.append(order)
        self.on_act()
        said = self._next(self.acts)
        assert said is not None
        return said

    def resolve_outcome(self, order: Operation, asked_at: datetime) -> OperationResult | None:
        self.read_at.append(utc_now())
        return self._next(self.settles)

    def verify_effect(self, order: Operation, asked_at: datetime) -> bool:
        self.on_read()
        said = self._next(self.settles)
        return said is not None and said.outcome == "done"

    def detail(self, job_id: str) -> JobDetail | None:
        self.on_read()
        return self.details.pop(0) if len(self.details) > 1 else self.details[0]

    def close(self) -> None:
        """Nothing was opened."""

    @staticmethod
    def _next(steps: list[Said]) -> OperationResult | None:
        said = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(said, Exception):
            raise said
        return said


class Scene:
    def __init__(self) -> None:
        self.script = Script()
        self.leaving = threading.Event()
        self.execution: Execution | None = None

    def give(self, *targets: str, action: str = "retry-job", by: str = "bob", command_id: str | None = None) -> str:
        whom = {"target": targets[0]} if ACTIONS[action].takes_one else {"targets": list(targets)}
        named = {"commandId": command_id or new_id(), "actionType": action, "service": "mail", **whom}
        return submit.submit_command(CommandRequest.model_validate(named), by).command_id

    def run(self, command_id: str, runner: str = "r1") -> str:
        """By a runner of that name, to its end or to where it breaks off; the phase then."""
        claim = leases.claim_command(command_id, runner)
        assert claim is not None
        self.execution = Execution(claim, 100, self.leaving)
        self.execution.run()
        return self.phase(command_id)

    def lapse(self, command_id: str) -> None:
        """The lease ran out, and every deadline with it."""
        with write() as session:
            session.execute(sa.update(CommandRow).values(lease_until=now_epoch() - 1))
            session.execute(sa.update(ItemRow).where(ItemRow.asked_at.is_not(None)).values(deadline=now_epoch() - 1))

    def row(self, command_id: str) -> CommandRow:
        with read() as session:
            return session.get_one(CommandRow, command_id)

    def entries(self, command_id: str) -> list[AuditRow]:
        with read() as session:
            mine = sa.select(AuditRow).where(AuditRow.command_id == command_id)
            return list(session.scalars(mine.order_by(AuditRow.seq)))

    def phase(self, command_id: str) -> str:
        with read() as session:
            return session.get_one(CommandRow, command_id).phase

    def states(self, command_id: str) -> dict[str, str]:
        with read() as session:
            rows = session.scalars(sa.select(ItemRow).where(ItemRow.command_id == command_id))
            return {row.target: row.state for row in rows}

    def lines(self, command_id: str) -> list[str]:
        return command_progress.parse_logs(self.row(command_id))

    def logs(self, command_id: str) -> str:
        with read() as session:
            return session.get_one(CommandRow, command_id).logs_json
