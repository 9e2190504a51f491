"""Pages and JSON of failures by cause."""

from flask import jsonify
from flask.typing import ResponseReturnValue

from app.commands.actions import ACTIONS
from app.config import current_settings
from app.db import db
from app.failures import failure_store, queries
from app.infra.problems import Problem
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.commands.command_views import ServiceActions
from app.web.dashboard import queries as dashboard
from app.web.dashboard.view_models import service_href
from app.web.failures import bp
from app.web.failures.failure_query import FailureQuery
from app.web.failures.group_view import build_views, load_groups
from app.web.failures.unknown_failures import FailureCoverage
from app.web.layout import build_layout, render_page
from app.web.listing import parse_args, wants_data

JOBS_SHOWN = 100


@bp.get("/failures")
@require("viewer", scope="read")
def index() -> ResponseReturnValue:
    return _show_list(None)


@bp.get("/services/<service_id>/failures")
@require("viewer", scope="read")
def of_service(service_id: str) -> ResponseReturnValue:
    dashboard.require_service(db.session(), service_id)
    return _show_list(service_id)


@bp.get("/failures/<group_id>")
@require("viewer", scope="read")
def show_group(group_id: str) -> ResponseReturnValue:
    """One cause: what its jobs share, and the jobs themselves."""
    who, session = actor(), db.session()
    cursor = dashboard.cursor(session)
    group = queries.find_group(session, group_id)
    if group is None:
        raise Problem(404, "No such failure", "Beacon knows no failures with this cause. /failures lists all causes.")
    [view] = build_views(session, [group])
    if wants_data():
        return jsonify(view.to_json())
    return render_page(
        "failures/group.html",
        cursor,
        layout=build_layout("failures", who, cursor, has_form=True),
        view=view,
        service_actions=ServiceActions.of(who, dashboard.require_service(session, group.service_id).service),
        unknown=FailureCoverage.load(session, group.service_id, current_settings().poll_interval_s).unknown,
        job_actions=[one for one in ACTIONS.values() if one.scope == "job" and one.is_offered_in("failed")],
        job_ids=queries.list_job_ids(session, group_id, JOBS_SHOWN),
        href=service_href(group.service_id),
    )


def _show_list(service_id: str | None) -> ResponseReturnValue:
    who, session, query = actor(), db.session(), parse_args(FailureQuery)
    cursor = dashboard.cursor(session)
    found = load_groups(session, query.as_filter(service_id), query.limit)
    unread = failure_store.count_unread(session, service_id)
    coverage = FailureCoverage.load(session, service_id, current_settings().poll_interval_s)
    if wants_data():
        meta = {"notReadYet": unread, "asOf": coverage.as_of, "notKnown": coverage.as_json, "limit": query.limit}
        return jsonify(data=[view.to_json() for view in found], meta=meta)
    return render_page(
        "failures/index.html",
        cursor,
        layout=build_layout("failures", who, cursor),
        found=found,
        query=query,
        unread=unread,
        unknown=coverage.unknown,
        service_id=service_id,
        service_name=registry.service_name(service_id) if service_id else "",
        href=service_href(service_id) if service_id else "",
    )
