"""`/services/{id}/commands`: target of all command buttons; destructive commands are reviewed first."""

import secrets
from dataclasses import dataclass, replace
from urllib.parse import quote

from flask import Response, jsonify, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.commands import live_preview, rejections, submit
from app.config import current_settings
from app.db import db
from app.infra.clock import parse_utc, utc_text
from app.infra.problems import Problem
from app.reconciliation import finding_text
from app.reconciliation import queries as reconciliation
from app.web import display_text
from app.web.auth import actor, require
from app.web.commands import bp
from app.web.commands.command_form import CommandForm
from app.web.commands.command_views import ServiceActions
from app.web.dashboard import queries
from app.web.dashboard.view_models import service_href
from app.web.errors import wants_page
from app.web.layout import build_layout, generation

SAMPLE_JOBS = 5


@dataclass(frozen=True, slots=True)
class CommandReview:
    """The review of a destructive command. `growth`: how many more jobs match now than the user saw as of `as_of`."""

    form: CommandForm
    service_actions: ServiceActions
    count: int | None
    as_of: str
    samples: tuple[str, ...]
    growth: int
    confirmation_text: str | None
    service_counts: str
    command_id: str
    problem: str = ""
    link: str = ""

    @property
    def href(self) -> str:
        return service_href(self.service_actions.service_id)

    @property
    def title(self) -> str:
        """`Purge 1,204 jobs from mail`"""
        form, name = self.form, self.service_actions.name
        if form.action.scope == "service":
            return f"{form.action.label} {name}"
        if form.action.scope == "queue":
            return f"{form.action.label} {finding_text.format_job_count(self.count or 0)} from {form.target}"
        jobs = "1 job" if form.target is not None else finding_text.format_job_count(self.count or 0)
        return f"{form.action.label} {jobs} from {name}"


@bp.post("/services/<service_id>/commands")
@require("operator")
def submit_form(service_id: str) -> ResponseReturnValue:
    """303 to the command's page; `{commandId, phase, link}` for scripts. A destructive command that is not confirmed
    yet is answered with its review."""
    form = CommandForm.parse(service_id, request.form)
    if form.preview_only or (form.action.is_destructive and not form.confirmed):
        return _render_review(
            replace(form, expected_count=None, as_of=None, given_id="") if form.preview_only else form
        )
    try:
        return _submit(form)
    except Problem as problem:
        if not ((form.action.is_destructive or form.is_count_bound) and wants_page()):
            raise
        return _render_review(form, problem)


@bp.get("/services/<service_id>/commands/review")
@require("operator")
def show_review(service_id: str) -> ResponseReturnValue:
    """The review page by its URL, which supplies no count, time, confirmation or command id: only forms do."""
    form = CommandForm.parse(service_id, request.args)
    return _render_review(replace(form, expected_count=None, as_of=None, typed="", given_id=""))


def _submit(form: CommandForm) -> ResponseReturnValue:
    expected = form.confirmation_text(_load_service_actions(form.service).name) if form.action.is_destructive else None
    if expected is not None and form.typed != expected:
        raise Problem(400, "Not confirmed", f"Type {expected} to confirm.", errors={"typed": f"expected {expected}"})
    asked, who = form.to_request(), actor().name
    db.session.remove()
    taken = submit.submit_command(asked, who, request.remote_addr)
    link = f"/commands/{quote(taken.command_id, safe='')}"
    if wants_page():
        return redirect(link, 303)
    return jsonify(commandId=taken.command_id, phase=taken.phase, link=link), 202


def _render_review(form: CommandForm, problem: Problem | None = None) -> Response:
    """Keeps the typed confirmation and the count that was seen first, and shows how many jobs came since."""
    service_actions = _load_service_actions(form.service)
    if form.is_bulk and not form.is_by_filter and not form.ids:
        raise Problem(400, "Nothing selected", "Select at least one job, then press again.", errors={"jobIds": "none"})
    who = actor()
    cursor = queries.cursor(db.session())
    around = replace(build_layout("service", who, cursor, has_form=True), refresh_s=None)
    counts = _describe_counts(form.service)
    found = _preview_targets(form)
    # A malformed count is ignored and the current one is shown instead.
    first = form.expected_count if form.is_count_bound and _is_valid_time(form.as_of) else None
    shown = CommandReview(
        form,
        service_actions,
        found.total if first is None else first,
        found.as_of if first is None or form.as_of is None else form.as_of,
        found.job_ids[:SAMPLE_JOBS],
        0 if first is None else max(0, found.total - first),
        form.confirmation_text(service_actions.name),
        counts,
        form.given_id or secrets.token_hex(16),
        problem.detail if problem else "",
        str(problem.members.get("link", "")) if problem else "",
    )
    page = render_template("commands/review.html", layout=around, review=shown)
    response = make_response(page, problem.status if problem else 200)
    response.headers["Beacon-Cursor"] = str(cursor)
    response.headers["Beacon-Generation"] = generation()
    response.headers["Cache-Control"] = "private, no-store"  # its command id must be used only once
    response.headers["Vary"] = "Accept, HX-Request, Cookie"
    return response


def _preview_targets(form: CommandForm) -> live_preview.JobPreview:
    if form.is_count_bound:
        state, queue = form.state_and_queue
        if form.group:
            return live_preview.preview_group(db.session(), form.service, form.group, SAMPLE_JOBS)
        db.session.remove()  # a service may take its time
        return live_preview.preview_jobs(form.service, state, queue, SAMPLE_JOBS)
    ids = (form.target,) if form.target else form.ids
    return live_preview.JobPreview(len(ids), utc_text(), ids)


def _load_service_actions(service_id: str) -> ServiceActions:
    found = reconciliation.find_service(db.session(), service_id)
    if found is None:
        raise rejections.not_watched_error(service_id)
    return ServiceActions.of(actor(), found.service)


def _describe_counts(service_id: str) -> str:
    found = reconciliation.find_service(db.session(), service_id)
    counts = found.counts(current_settings().poll_interval_s)[0] if found else None
    return display_text.format_counts(counts) if counts else ""


def _is_valid_time(text: str | None) -> bool:
    try:
        return text is not None and bool(parse_utc(text))
    except ValueError:
        return False
