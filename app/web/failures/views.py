"""Pages and JSON of failures by cause."""

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from app.accounts.actors import Actor
from app.commands.actions import ACTIONS
from app.config import current_settings
from app.db import db
from app.failures import failure_store, queries
from app.failures.failure_history import TEN_MINUTES, SliceScale, load_history
from app.failures.models import FailureGroup
from app.infra.problems import Problem
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.commands.command_views import ServiceActions
from app.web.dashboard import queries as dashboard
from app.web.dashboard.view_models import service_href
from app.web.failures import bp, cause_charts, group_view
from app.web.failures.deploy_marks import CHART, LABEL_ENDS_FROM, mark_deploys
from app.web.failures.failure_query import MAX_GROUPS, FailureAddress, FailureQuery
from app.web.failures.group_view import build_views
from app.web.failures.mute_views import MUTE_CHOICES
from app.web.failures.unknown_failures import FailureCoverage
from app.web.layout import build_layout, render_page
from app.web.line_charts import fit_axis
from app.web.listing import parse_args, wants_data

JOBS_SHOWN = 100
MUTE_ROLE = "operator"


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
    """One cause: what its jobs share, how often it struck, and the jobs themselves."""
    session = db.session()
    group = queries.find_group(session, group_id)
    if group is None:
        raise Problem(404, "No such failure", "Beacon knows no failures with this cause. /failures lists all causes.")
    if not wants_data():
        return _render_group(session, actor(), group)
    [shown] = group_view.to_json(session, build_views(session, [group]))
    return jsonify(shown)


def _render_group(session: Session, who: Actor, group: FailureGroup) -> ResponseReturnValue:
    cursor = dashboard.cursor(session)
    [view] = build_views(session, [group])
    slices = load_history(session, [group], SliceScale(view.now, TEN_MINUTES))[group.id]
    slices = slices[-fit_axis(slices) :]
    span = TEN_MINUTES * len(slices)
    return render_page(
        "failures/group.html",
        cursor,
        layout=build_layout("failures", who, cursor, has_form=True),
        view=view,
        chart=cause_charts.draw_chart(slices, view.hours, mark_deploys(CHART, view.deploys, view.now, span)),
        label_ends_from=LABEL_ENDS_FROM,
        ticks=cause_charts.list_ticks(view.now, span),
        hours=cause_charts.list_hours(view.hours, view.deploys, view.now),
        service_actions=ServiceActions.of(who, dashboard.require_service(session, group.service_id).service),
        unknown=FailureCoverage.load(session, group.service_id, current_settings().poll_interval_s).unknown,
        job_actions=[one for one in ACTIONS.values() if one.scope == "job" and one.is_offered_in("failed")],
        jobs=queries.list_jobs(session, group.id, JOBS_SHOWN),
        href=service_href(group.service_id),
        mute_choices=MUTE_CHOICES,
        why_no_mute=_why_no_mute(who),
    )


def _show_list(service_id: str | None) -> ResponseReturnValue:
    return _list_as_json(service_id) if wants_data() else _render_list(service_id)


def _list_as_json(service_id: str | None) -> ResponseReturnValue:
    session, query = db.session(), parse_args(FailureQuery)
    wanted = query.as_filter(service_id)
    views = build_views(session, queries.list_groups(session, wanted, query.limit))
    unread, total = failure_store.count_unread(session, service_id), queries.count_groups(session, wanted).groups
    coverage = FailureCoverage.load(session, service_id, current_settings().poll_interval_s)
    meta = {
        "notReadYet": unread,
        "asOf": coverage.as_of,
        "notKnown": coverage.as_json,
        "limit": query.limit,
        "total": total,
    }
    return jsonify(data=group_view.to_json(session, views), meta=meta)


def _render_list(service_id: str | None) -> ResponseReturnValue:
    who, session = actor(), db.session()
    cursor = dashboard.cursor(session)
    address = FailureAddress.parse(request.path, request.args)
    coverage = FailureCoverage.load(session, service_id, current_settings().poll_interval_s)
    wanted = address.query.as_filter(service_id)
    found = build_views(session, queries.list_groups(session, wanted, address.query.limit))
    muted = [view for view in found if view.is_muted]
    return render_page(
        "failures/index.html",
        cursor,
        layout=build_layout("failures", who, cursor, has_form=bool(muted)),
        address=address,
        loud=[view for view in found if not view.is_muted],
        muted=muted,
        hours_shown=found[0].hours_shown if found else 24,
        total=queries.count_groups(session, wanted),
        most=MAX_GROUPS,
        unknown=coverage.unknown,
        unread=failure_store.count_unread(session, service_id),
        service_id=service_id,
        service_name=registry.service_name(service_id) if service_id else "",
        href=service_href(service_id) if service_id else "",
        why_no_mute=_why_no_mute(who),
    )


def _why_no_mute(who: Actor) -> str:
    return "" if who.has_role(MUTE_ROLE) else f"Muting needs the role {MUTE_ROLE}; you are {who.role}."
