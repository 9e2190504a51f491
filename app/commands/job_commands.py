"""The commands that touched one job, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.commands.actions import lock_key
from app.commands.models import CommandRow, ItemRow


@dataclass(frozen=True, slots=True)
class JobCommand:
    """`state` and `detail`: what became of this job; the command may have touched others."""

    command: CommandRow
    state: str
    detail: str


def list_job_commands(session: Session, service_id: str, job_id: str, limit: int) -> Sequence[JobCommand]:
    mine = (ItemRow.service_id == service_id, ItemRow.target == job_id, ItemRow.hold == lock_key("job", job_id))
    query = (
        sa.select(CommandRow, ItemRow.state, ItemRow.detail)
        .join(ItemRow, ItemRow.command_id == CommandRow.id)
        .where(*mine)
        .order_by(CommandRow.created_at.desc(), CommandRow.id)
    )
    return [JobCommand(*found) for found in session.execute(query.limit(limit))]
