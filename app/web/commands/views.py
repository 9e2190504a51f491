"""`/commands` and `/commands/{id}`: list and detail page of commands, and JSON for API clients."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from flask import Response, request
from flask.typing import ResponseReturnValue
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.commands import queries as command_queries
from app.commands.actions import ACTIONS
from app.commands.models import CommandRow, ItemRow
from app.db import db
from app.infra.clock import parse_utc
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.commands import bp, outcome_text, routes
from app.web.commands.command_views import PHASE_LABELS, CommandView
from app.web.commands.routes import CommandListQuery
from app.web.dashboard import queries
from app.web.dashboard.view_models import UNKNOWN
from app.web.errors import wants_page
from app.web.layout import build_layout, render_page

FILTER_PARAMS = ("q", "phase", "action", "service", "actor")
ITEM_STATE_LABELS = {
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
    """A page for people, `{data, meta}` for API clients: newest first, filtered by the query string."""
    if actor().scopes is not None or not wants_page():
        return routes.list_commands()
    return _render_list({name: text for name in FILTER_PARAMS if (text := request.args.get(name, "").strip())})


@bp.get("/services/<service_id>/commands")
@require("viewer")
def list_for_service(service_id: str) -> ResponseReturnValue:
    """The list of one service. Reloading a posted review leads here, because it leaves this URL in the address bar."""
    return _render_list({"service": service_id[:200]})


def _render_list(given: dict[str, str]) -> Response:
    wanted, errors = _parse_filters({**given, "before": request.args.get("before", "")})
    who, session = actor(), db.session()
    cursor = queries.cursor(session)
    rows, older = routes.load_page(session, wanted)
    newest = rows if wanted.before is None else routes.load_page(session, wanted.model_copy(update={"before": None}))[0]
    return render_page(
        "commands/index.html",
        cursor,
        layout=build_layout("commands", who, cursor),
        rows=[(row, CommandView.of(row), registry.service_name(row.service_id)) for row in rows],
        given=given,
        errors=errors,
        is_first=wanted.before is None,
        head=newest[0].id if newest else "",
        here=_list_url(given),
        older=_list_url(given, before=older) if older else None,
        phases=PHASE_LABELS,
        actions=[(action.name, action.label) for action in ACTIONS.values()],
        services=registry.list_services(session),
    )


@bp.get("/commands/<command_id>")
@require("viewer", scope="read")
def show_command(command_id: str) -> ResponseReturnValue:
    if actor().scopes is not None or not wants_page():
        return routes.get_command(command_id)
    who, session = actor(), db.session()
    cursor = queries.cursor(session)
    row = routes.require_command(session, command_id)
    after = min(max(request.args.get("resultsAfter", -1, type=int), -1), 1_000_000)
    detail = command_queries.command_to_json(row, command_queries.load_results(session, row.id, after))
    return render_page(
        "commands/command.html",
        cursor,
        layout=build_layout("commands", who, cursor),
        row=row,
        command=CommandView.of(row),
        detail=detail,
        name=registry.service_name(row.service_id),
        items=ITEM_STATE_LABELS,
        outcome=_describe_outcome(session, row),
        took=_format_duration(row),
        differences=diff_before_after(detail["before"] or {}, detail["after"] or {}),
    )


def _parse_filters(given: Mapping[str, str]) -> tuple[CommandListQuery, list[str]]:
    """The valid filters, and a message for each invalid one."""
    asked = {name: value for name, value in given.items() if value}
    try:
        return CommandListQuery.model_validate(asked), []
    except ValidationError as error:
        wrong = {str(item["loc"][0]) for item in error.errors()}
        left = {name: value for name, value in asked.items() if name not in wrong and name != "action"}
        if "actionType" not in wrong and "action" in asked:
            left["actionType"] = asked["action"]
        names = sorted("action" if name == "actionType" else name for name in wrong)
        return CommandListQuery.model_validate(left), [f"Unknown value for “{name}”; ignored." for name in names]


def _describe_outcome(session: Session, row: CommandRow) -> outcome_text.OutcomeText | None:
    if not row.ended_at:
        return None
    return outcome_text.describe_outcome(row, has_unanswered=_has_unanswered_item(session, row.id))


def _list_url(given: Mapping[str, str], **more: str) -> str:
    query = urlencode({**given, **more})
    return f"/commands?{query}" if query else "/commands"


def _has_unanswered_item(session: Session, command_id: str) -> bool:
    mine = sa.select(ItemRow.place).where(ItemRow.command_id == command_id, ItemRow.state == "timeout")
    return session.scalar(mine.limit(1)) is not None


def _format_duration(row: CommandRow) -> str:
    if not row.ended_at:
        return ""
    seconds = (parse_utc(row.ended_at) - parse_utc(row.created_at)).total_seconds()
    return f"{max(0.0, seconds):,.1f} s"


def diff_before_after(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """What changed between the two reads: the single job or instance, and the service's counts, by any cause."""
    was, now = before.get("counts"), after.get("counts")
    found = [
        (word, str(before.get(name) or UNKNOWN), str(after[name]))
        for name, word in (("state", "the job"), ("instanceId", "instance"))
        if after.get(name)
    ]
    states = {**(was or {}), **(now or {})} if now else {}
    found += [
        (f"{state}, in the whole service", _format_count(was, state), _format_count(now, state)) for state in states
    ]
    return [side for side in found if side[1] != side[2]]


def _format_count(counts: Mapping[str, int] | None, state: str) -> str:
    """A state that the read did not tell is unknown, not zero: then nothing rose or fell."""
    return f"{counts[state]:,}" if counts and state in counts else UNKNOWN
