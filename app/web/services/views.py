"""`/services/{id}`: is what I see true, what differs and what is known of it, how it was, and who works on it."""

from flask import Response, redirect, request
from flask.typing import ResponseReturnValue

from app.commands import live_preview
from app.config import current_settings
from app.db import db
from app.infra.clock import utc_text
from app.infra.problems import Problem
from app.reconciliation import queries as reconciliation
from app.reconciliation.loader import database_now
from app.reconciliation.stuck_jobs import stuck_jobs
from app.web.auth import actor, require
from app.web.commands.command_views import Acting, CommandView
from app.web.dashboard import queries, sparklines
from app.web.dashboard.view_models import Board, service_href
from app.web.discrepancies import routes
from app.web.errors import wants_page
from app.web.layout import frame, poll_interval, rendered
from app.web.services import bp, check_history
from app.web.services.accept_form import AcceptForm
from app.web.services.service_details import ServiceView, view

WORKERS = 25
STUCK = 100


@bp.get("/services/<service_id>")
@require("viewer")
def index(service_id: str) -> Response:
    return _page(service_id)


def accept(service_id: str) -> ResponseReturnValue:
    """The answer to a form of `/services/{id}/discrepancies/accept`: 303 to the page of the service. What was refused,
    or not all accepted because it is not what was seen, stands there as it was typed."""
    form = AcceptForm.of(request.form)
    try:
        accepted = routes.accept_given(service_id, routes.form_given())
    except Problem as problem:
        if problem.status != 400 or not wants_page():
            raise
        return _page(service_id, form.refused(problem), 400)
    if accepted.left and wants_page():
        return _page(service_id, form.leaving(accepted), 409)
    return redirect(service_href(service_id), 303)


def _page(service_id: str, accepting: AcceptForm | None = None, status: int = 200) -> Response:
    """`accepting`: what was pressed here, and refused or left in part."""
    who, session = actor(), db.session()
    seen_at = utc_text(database_now(session))
    cursor = queries.cursor(session)
    found = view(session, _watched(service_id), who.viewer, poll_interval())
    may_accept = who.has_role("operator")
    return rendered(
        "dashboard/service.html",
        cursor,
        status,
        accepting=accepting,
        frame=frame("service", who, cursor, has_form=may_accept and found.has_form),
        service=found,
        tile=found.tile,
        board=Board.of([found.tile], sparklines.current(session)),
        history=check_history.history(session, service_id, check_history.span_of(request.args.get("history"))),
        spans=check_history.SPANS,
        may_accept=may_accept,
        acting=Acting.of(who, _watched(service_id).service),
        under_way=_under_way(service_id, [item.job_id for item in found.items]),
        queues=live_preview.list_queues(session, service_id),
        chosen=request.args.get("chosen") == "all",
        seen_at=seen_at,
        workers_shown=None if request.args.get("workers") == "all" else WORKERS,
        list_bound=current_settings().job_list_bound,
        address=lambda **changed: _address(found, **changed),
    )


@bp.get("/services/<service_id>/stuck")
@require("viewer")
def stuck(service_id: str) -> Response:
    """Asked by the page once it stands, so that a service which takes its time delays nothing; a page of its own for
    whoever follows the link."""
    who, watched = actor(), _watched(service_id)
    cursor, name = queries.cursor(db.session()), watched.service.name
    is_part = request.headers.get("HX-Request") == "true"
    page = None if is_part else frame("service", who, cursor)
    acting = Acting.of(who, watched.service)
    told = stuck_jobs(watched.service, name, current_settings().job_list_bound)
    template = "dashboard/_service_stuck.html" if is_part else "dashboard/stuck.html"
    return rendered(
        template,
        cursor,
        frame=page,
        told=told,
        name=name,
        href=service_href(service_id),
        utc_text=utc_text,
        acting=acting,
        under_way=_under_way(service_id, [one.job.id for one in told.jobs[:STUCK]]),
    )


def _under_way(service_id: str, job_ids: list[str]) -> dict[str, CommandView]:
    found = live_preview.find_open_commands(db.session(), service_id, job_ids)
    return {job_id: CommandView.of(row) for job_id, row in found.items()}


def _watched(service_id: str) -> reconciliation.Watched:
    found = reconciliation.service(db.session(), service_id)
    if found is None:
        raise Problem(404, "No such service", "Beacon watches no service of this id; the dashboard lists all of them.")
    return found


def _address(found: ServiceView, **changed: str) -> str:
    """The same view with something changed; what is as usual is left out."""
    usual = {"history": "hour", "workers": "some", "chosen": "none"}
    given = {name: request.args.get(name, "") for name in usual} | changed
    pairs = [f"{name}={value}" for name, value in given.items() if value.isalpha() and value != usual[name]]
    return f"{found.tile.href}?{'&'.join(pairs)}" if pairs else found.tile.href
