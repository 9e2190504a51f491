"""`/commands` and `/commands/{id}`: who gave which command, what became of it, and what was seen. JSON for programs."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from flask import Response, request
from flask.typing import ResponseReturnValue
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.commands import queries as command_queries
from app.commands.models import CommandRow, ItemRow
from app.db import db
from app.infra.clock import parse_utc
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.commands import bp, outcome_text, routes
from app.web.commands.command_views import PHASES, VERBS, CommandView
from app.web.commands.routes import ListQuery
from app.web.dashboard import queries
from app.web.dashboard.view_models import UNKNOWN
from app.web.errors import wants_page
from app.web.layout import frame, rendered

FILTERS = ("q", "phase", "action", "service", "actor")
ITEMS = {
    "waiting": ("queued", "Waiting"),
    "running": ("running", "Running"),
    "unknown": ("timeout", "Being settled"),
    "done": ("success", "Done"),
    "refused": ("error", "Refused"),
    "absent": ("error", "Not there"),
    "failed": ("error", "Failed"),
    "timeout": ("timeout", "No answer"),
}


@bp.get("/commands")
@require("viewer", scope="read")
def index() -> ResponseReturnValue:
    """A page for people, `{data, meta}` for programs: the newest first, as its address asks for them."""
    if actor().scopes is not None or not wants_page():
        return routes.listed()
    return _list({name: text for name in FILTERS if (text := request.args.get(name, "").strip())})


@bp.get("/services/<service_id>/commands")
@require("viewer")
def of_service(service_id: str) -> ResponseReturnValue:
    """What a review that was posted there leaves in the address bar: loaded again, it is what was given so far."""
    return _list({"service": service_id[:200]})


def _list(given: dict[str, str]) -> Response:
    wanted, errors = _wanted({**given, "before": request.args.get("before", "")})
    who, session = actor(), db.session()
    cursor = queries.cursor(session)
    rows, older = routes.page_of(session, wanted)
    newest = rows if wanted.before is None else routes.page_of(session, wanted.model_copy(update={"before": None}))[0]
    return rendered(
        "commands/index.html",
        cursor,
        frame=frame("commands", who, cursor),
        rows=[(row, CommandView.of(row), registry.name_of(row.service_id)) for row in rows],
        given=given,
        errors=errors,
        is_first=wanted.before is None,
        head=newest[0].id if newest else "",
        here=_address(given),
        older=_address(given, before=older) if older else None,
        phases=PHASES,
        actions=VERBS,
        services=registry.watched(session),
    )


@bp.get("/commands/<command_id>")
@require("viewer", scope="read")
def one(command_id: str) -> ResponseReturnValue:
    if actor().scopes is not None or not wants_page():
        return routes.one(command_id)
    who, session = actor(), db.session()
    cursor = queries.cursor(session)
    row = routes.found(session, command_id)
    after = min(max(request.args.get("resultsAfter", -1, type=int), -1), 1_000_000)
    told = command_queries.command_to_json(row, command_queries.load_results(session, row.id, after))
    return rendered(
        "commands/command.html",
        cursor,
        frame=frame("commands", who, cursor),
        row=row,
        command=CommandView.of(row),
        told=told,
        name=registry.name_of(row.service_id),
        items=ITEMS,
        ended=outcome_text.ended(row, unheard=_is_unheard(session, row.id)) if row.ended_at else None,
        took=_took(row),
        sides=_sides(told["before"] or {}, told["after"] or {}),
    )


def _wanted(given: Mapping[str, str]) -> tuple[ListQuery, list[str]]:
    """What makes no sense is said, and not asked."""
    asked = {name: value for name, value in given.items() if value}
    try:
        return ListQuery.model_validate(asked), []
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors()}
        left = {name: value for name, value in asked.items() if name not in wrong and name != "action"}
        if "actionType" not in wrong and "action" in asked:
            left["actionType"] = asked["action"]
        names = sorted("action" if name == "actionType" else name for name in wrong)
        return ListQuery.model_validate(left), [f"“{name}” is none that there is; it was left out." for name in names]


def _address(given: Mapping[str, str], **more: str) -> str:
    query = urlencode({**given, **more})
    return f"/commands?{query}" if query else "/commands"


def _is_unheard(session: Session, command_id: str) -> bool:
    mine = sa.select(ItemRow.place).where(ItemRow.command_id == command_id, ItemRow.state == "timeout")
    return session.scalar(mine.limit(1)) is not None


def _took(row: CommandRow) -> str:
    if not row.ended_at:
        return ""
    seconds = (parse_utc(row.ended_at) - parse_utc(row.created_at)).total_seconds()
    return f"{max(0.0, seconds):,.1f} s"


def _sides(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What single things were, and how the counts of the service moved meanwhile, by whatever; unknown ones as such."""
    was, now = before.get("counts"), after.get("counts")
    found = [
        (word, str(before.get(name) or UNKNOWN), str(after[name]))
        for name, word in (("state", "the job"), ("instanceId", "instance"))
        if after.get(name)
    ]
    states = {**(was or {}), **(now or {})} if now else {}
    found += [(f"{state}, in the whole service", _count(was, state), _count(now, state)) for state in states]
    return [side for side in found if side[1] != side[2]]


def _count(counts: Mapping[str, int] | None, state: str) -> str:
    return f"{counts.get(state, 0):,}" if counts else UNKNOWN
