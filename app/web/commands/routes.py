"""`/commands/run`, and the JSON of `/commands` and `/commands/{id}`, which are also pages (`views`)."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy.orm import Session

from app.commands import queries, submit
from app.commands.actions import ACTIONS
from app.commands.models import PHASES, CommandRow
from app.commands.request import CommandRequest
from app.db import db
from app.infra.problems import Problem, invalid_input
from app.sources.protocol import MAX_JOB_ID_CHARS
from app.web.auth import actor, require
from app.web.commands import bp

MAX_COMMANDS_PER_PAGE = 200
ShortText = Annotated[str, StringConstraints(max_length=200)]


class CommandListQuery(BaseModel):
    """Unknown query parameters are ignored. `before`: `meta.next` of the previous page."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    q: ShortText | None = None
    phase: Annotated[str, StringConstraints(pattern=f"^({'|'.join(PHASES)})$")] | None = None
    action: Annotated[str, StringConstraints(pattern=f"^({'|'.join(ACTIONS)})$")] | None = Field(
        None, alias="actionType"
    )
    service: ShortText | None = None
    actor: ShortText | None = None
    target: Annotated[str, StringConstraints(max_length=MAX_JOB_ID_CHARS)] | None = None
    before: Annotated[str, StringConstraints(pattern=r"^[0-9TZ:.-]{24}_[A-Za-z0-9_.-]{8,64}$")] | None = None
    limit: int = Field(50, ge=1, le=MAX_COMMANDS_PER_PAGE)


@bp.post("/commands/run")
@require("operator", scope="command")
def run_command() -> ResponseReturnValue:
    """202 with the current phase. Repeating the same id and body gives the same answer and does nothing twice."""
    try:
        command = CommandRequest.model_validate(request.get_json())
    except ValidationError as error:
        raise invalid_input(error) from error
    who = actor().name
    # Release the connection first: requests that hold one while waiting for another can deadlock the pool.
    db.session.remove()
    submitted = submit.submit_command(command, who, request.remote_addr)
    answer = jsonify(commandId=submitted.command_id, phase=submitted.phase)
    answer.headers["Location"] = f"/commands/{quote(submitted.command_id, safe='')}"
    return answer, 202


def list_commands() -> ResponseReturnValue:
    """Newest first; `meta.next` is the `before` of the next page."""
    query = CommandListQuery.model_validate({name: value for name, value in request.args.items() if value})
    rows, after = load_page(db.session(), query)
    return jsonify(data=[queries.summary_to_json(row) for row in rows], meta={"limit": query.limit, "next": after})


def load_page(session: Session, query: CommandListQuery) -> tuple[Sequence[CommandRow], str | None]:
    """The matching commands, and the `before` of the next page."""
    wanted = queries.CommandFilter(query.phase, query.action, query.service, query.actor, query.target, query.q)
    created_at, _, command_id = (query.before or "").partition("_")
    key = (created_at, command_id) if query.before else None
    rows, after = queries.load_page(session, wanted, key, query.limit)
    return rows, f"{after[0]}_{after[1]}" if after else None


def require_command(session: Session, command_id: str) -> CommandRow:
    row = queries.find_command(session, command_id)
    if row is None:
        raise Problem(404, "No such command", "Beacon has no command with this id. Commands are kept for a few days.")
    return row


def get_command(command_id: str) -> ResponseReturnValue:
    row = require_command(db.session(), command_id)
    after = request.args.get("resultsAfter", -1, type=int)
    items = queries.load_results(db.session(), command_id, min(max(after, -1), 1_000_000))
    return jsonify(queries.command_to_json(row, items))
