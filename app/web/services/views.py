"""`/services/{id}`: state, differences, check history, workers and stuck jobs of a service."""

from flask import Response, jsonify, redirect, request
from flask.typing import ResponseReturnValue

from app.commands import live_preview
from app.config import current_settings
from app.db import db
from app.infra.clock import utc_text
from app.infra.problems import Problem
from app.reconciliation.loader import database_now
from app.reconciliation.stuck_jobs import fetch_stuck_jobs
from app.web.auth import actor, require
from app.web.commands.command_views import CommandView, ServiceActions
from app.web.dashboard import queries, sparklines
from app.web.dashboard.board import Board
from app.web.dashboard.failing import load_failing
from app.web.dashboard.view_models import service_href
from app.web.errors import wants_page
from app.web.layout import build_layout, poll_interval, render_page
from app.web.listing import build_url
from app.web.services import bp, check_history
from app.web.services.accept_form import AcceptForm, accept_request, read_accept_form
from app.web.services.service_details import ServiceView, load_service_view

MAX_WORKERS_SHOWN = 25
MAX_STUCK_SHOWN = 100


@bp.get("/services/<service_id>")
@require("viewer")
def index(service_id: str) -> Response:
    return _render_page(service_id)


@bp.post("/services/<service_id>/discrepancies/accept")
@require("operator", scope="command")
def accept_discrepancies(service_id: str) -> ResponseReturnValue:
    """JSON is answered with the ids that were `closed` and, of `jobIds`, those `notAccepted` with the reason.

    A form is answered with 303 to the service's page. If it was rejected, or some differences had changed since they
    were shown, the page keeps what was submitted.
    """
    if request.is_json:
        accepted = accept_request(service_id, request.get_json())
        left = [{"jobId": one.job_id, "why": one.why} for one in accepted.left]
        return jsonify(closed=accepted.closed, **({"notAccepted": left} if left else {}))
    form = AcceptForm.parse(request.form)
    try:
        accepted = accept_request(service_id, read_accept_form(request.form))
    except Problem as problem:
        if problem.status != 400 or not wants_page():
            raise
        return _render_page(service_id, form.with_error(problem), 400)
    if accepted.left and wants_page():
        return _render_page(service_id, form.with_not_accepted(accepted), 409)
    return redirect(service_href(service_id), 303)


def _render_page(service_id: str, accepting: AcceptForm | None = None, status: int = 200) -> Response:
    """`accepting`: a submitted form that was rejected or accepted in part."""
    who, session = actor(), db.session()
    seen_at = utc_text(database_now(session))
    cursor = queries.cursor(session)
    watched = queries.require_service(session, service_id)
    found = load_service_view(session, watched, who.viewer, poll_interval())
    may_accept = who.has_role("operator")
    return render_page(
        "dashboard/service.html",
        cursor,
        status,
        accepting=accepting,
        layout=build_layout("service", who, cursor, has_form=may_accept and found.has_form),
        service=found,
        tile=found.tile,
        board=Board.from_tiles([found.tile], sparklines.load_trends(session)),
        failing=load_failing(session, [found.tile]),
        history=check_history.load_history(session, service_id, check_history.parse_span(request.args.get("history"))),
        spans=check_history.SPANS,
        may_accept=may_accept,
        service_actions=ServiceActions.of(who, watched.service),
        open_commands=_find_open_commands(service_id, [item.job_id for item in found.items]),
        queues=live_preview.list_queues(session, service_id),
        chosen=request.args.get("chosen") == "all",
        seen_at=seen_at,
        workers_shown=None if request.args.get("workers") == "all" else MAX_WORKERS_SHOWN,
        list_bound=current_settings().job_list_bound,
        address=lambda **changed: _page_url(found, **changed),
    )


@bp.get("/services/<service_id>/stuck")
@require("viewer")
def show_stuck_jobs(service_id: str) -> Response:
    """Loaded by the service's page after it is displayed, so that a slow service does not delay it. Without htmx it is
    a page of its own."""
    who, watched = actor(), queries.require_service(db.session(), service_id)
    cursor, name = queries.cursor(db.session()), watched.service.name
    is_part = request.headers.get("HX-Request") == "true"
    page = None if is_part else build_layout("service", who, cursor)
    service_actions = ServiceActions.of(who, watched.service)
    stuck = fetch_stuck_jobs(watched.service, name, current_settings().job_list_bound)
    template = "dashboard/_service_stuck.html" if is_part else "dashboard/stuck.html"
    return render_page(
        template,
        cursor,
        layout=page,
        stuck=stuck,
        name=name,
        href=service_href(service_id),
        utc_text=utc_text,
        service_actions=service_actions,
        open_commands=_find_open_commands(service_id, [one.job.id for one in stuck.jobs[:MAX_STUCK_SHOWN]]),
    )


def _find_open_commands(service_id: str, job_ids: list[str]) -> dict[str, CommandView]:
    found = live_preview.find_open_commands(db.session(), service_id, job_ids)
    return {job_id: CommandView.of(row) for job_id, row in found.items()}


def _page_url(found: ServiceView, **changed: str) -> str:
    """The URL of this view with some parameters changed; defaults are omitted."""
    defaults = {"history": "hour", "workers": "some", "chosen": "none"}
    given = {name: request.args.get(name, "") for name in defaults} | changed
    pairs = {name: value for name, value in given.items() if value.isalpha() and value != defaults[name]}
    return build_url(found.tile.href, pairs)
