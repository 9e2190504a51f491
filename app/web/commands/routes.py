"""`/commands/run`; what programs get of `/commands` and `/commands/{id}`, which are pages too (`command_pages`)."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy.orm import Session

from app.commands import queries, submit
from app.commands.models import PHASES, CommandRow
from app.commands.request import Asked
from app.db import db
from app.infra.problems import Problem, invalid_input
from app.sources.protocol import ACTIONS, MAX_JOB_ID_CHARS
from app.web.auth import actor, require
from app.web.commands import bp

MAX_LIMIT = 200
Word = Annotated[str, StringConstraints(max_length=200)]


class ListQuery(BaseModel):
    """Unknown parameters are nobody's mistake here, and ignored. `before`: `meta.next` of the page before."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    q: Word | None = None
    phase: Annotated[str, StringConstraints(pattern=f"^({'|'.join(PHASES)})$")] | None = None
    action: Annotated[str, StringConstraints(pattern=f"^({'|'.join(ACTIONS)})$")] | None = Field(
        None, alias="actionType"
    )
    service: Word | None = None
    actor: Word | None = None
    target: Annotated[str, StringConstraints(max_length=MAX_JOB_ID_CHARS)] | None = None
    before: Annotated[str, StringConstraints(pattern=r"^[0-9TZ:.-]{24}_[A-Za-z0-9_.-]{8,64}$")] | None = None
    limit: int = Field(50, ge=1, le=MAX_LIMIT)


@bp.post("/commands/run")
@require("operator", scope="command")
def run() -> ResponseReturnValue:
    """202 with the phase now. The same id and body again: the same answer, and nothing is done twice."""
    try:
        asked = Asked.model_validate(request.get_json())
    except ValidationError as error:
        raise invalid_input(error) from error
    who = actor().name
    # A request that held one connection and waited for another would, with enough others, wait for itself.
    db.session.remove()
    taken = submit.take_on(asked, who, request.remote_addr)
    answer = jsonify(commandId=taken.command_id, phase=taken.phase)
    answer.headers["Location"] = f"/commands/{quote(taken.command_id, safe='')}"
    return answer, 202


def listed() -> ResponseReturnValue:
    """The newest first; `meta.next` is the `before` of the next page."""
    asked = ListQuery.model_validate({name: value for name, value in request.args.items() if value})
    rows, after = page_of(db.session(), asked)
    return jsonify(data=[queries.summary(row) for row in rows], meta={"limit": asked.limit, "next": after})


def page_of(session: Session, asked: ListQuery) -> tuple[Sequence[CommandRow], str | None]:
    """The commands that were asked for, and the `before` of the next page."""
    wanted = queries.Filter(asked.phase, asked.action, asked.service, asked.actor, asked.target, asked.q)
    created_at, _, command_id = (asked.before or "").partition("_")
    key = (created_at, command_id) if asked.before else None
    rows, after = queries.page(session, wanted, key, asked.limit)
    return rows, f"{after[0]}_{after[1]}" if after else None


def found(session: Session, command_id: str) -> CommandRow:
    row = queries.find(session, command_id)
    if row is None:
        raise Problem(404, "No such command", "Beacon knows no command of this id; they are kept for a few days.")
    return row


def one(command_id: str) -> ResponseReturnValue:
    row = found(db.session(), command_id)
    after = request.args.get("resultsAfter", -1, type=int)
    return jsonify(queries.full(row, queries.results(db.session(), command_id, min(max(after, -1), 1_000_000))))
