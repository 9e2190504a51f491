"""`/services/{id}/commands`: where buttons lead, with scripts or without; what weighs something is reviewed first."""

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
from app.web.commands.command_form import Pressed
from app.web.commands.command_views import VERBS, Acting
from app.web.dashboard import queries
from app.web.dashboard.view_models import service_href
from app.web.errors import wants_page
from app.web.layout import frame, generation

SAMPLES = 5


@dataclass(frozen=True, slots=True)
class Review:
    """What a person sees before something weighty: how many as of when, some of them, how many more there are now."""

    pressed: Pressed
    acting: Acting
    number: int | None
    as_of: str
    samples: tuple[str, ...]
    more: int
    must_type: str | None
    counts: str
    command_id: str
    problem: str = ""
    link: str = ""

    @property
    def href(self) -> str:
        return service_href(self.acting.service_id)

    @property
    def verb(self) -> str:
        """`Purge 1,204 jobs from mail`"""
        verb, one = VERBS[self.pressed.action], self.pressed
        if one.action == "restart-service":
            return f"{verb} {self.acting.name}"
        if one.target is not None and one.action != "purge-queue":
            return f"{verb} 1 job from {self.acting.name}"
        place = one.target if one.action == "purge-queue" else self.acting.name
        return f"{verb} {finding_text.jobs(self.number or 0)} from {place}"


@bp.post("/services/<service_id>/commands")
@require("operator")
def press(service_id: str) -> ResponseReturnValue:
    """303 to the command's page; `{commandId, phase, link}` for scripts. What weighs something and was not confirmed is
    answered with its review."""
    one = Pressed.of(service_id, request.form)
    if one.looks or (one.is_weighty and not one.confirmed):
        return _review(replace(one, expected_count=None, as_of=None, given_id="") if one.looks else one)
    try:
        return _taken(one)
    except Problem as problem:
        if not ((one.is_weighty or one.counts) and wants_page()):
            raise
        return _review(one, problem)


@bp.get("/services/<service_id>/commands/review")
@require("operator")
def review(service_id: str) -> ResponseReturnValue:
    """An address says what to look at. What only a reader can have seen, typed or meant is not taken from it."""
    one = Pressed.of(service_id, request.args)
    return _review(replace(one, expected_count=None, as_of=None, typed="", given_id=""))


def _taken(one: Pressed) -> ResponseReturnValue:
    expected = one.must_type(_acting(one.service).name) if one.is_weighty else None
    if expected is not None and one.typed != expected:
        raise Problem(400, "Not confirmed", f"Type {expected} to confirm.", errors={"typed": f"expected {expected}"})
    asked, who = one.asked(), actor().name
    db.session.remove()
    taken = submit.submit_command(asked, who, request.remote_addr)
    link = f"/commands/{quote(taken.command_id, safe='')}"
    if wants_page():
        return redirect(link, 303)
    return jsonify(commandId=taken.command_id, phase=taken.phase, link=link), 202


def _review(one: Pressed, problem: Problem | None = None) -> Response:
    """Keeps what was typed, and the count that was seen first: how many more there are stands beside it."""
    acting = _acting(one.service)
    if one.is_bulk and not one.by_filter and not one.ids:
        raise Problem(400, "Nothing chosen", "Choose at least one job, then press again.", errors={"jobIds": "none"})
    who = actor()
    cursor = queries.cursor(db.session())
    around = replace(frame("service", who, cursor, has_form=True), refresh_s=None)
    counts = _counts(one.service)
    found = _found(one)
    # A count that nobody can read as one is none: the fresh one is shown instead.
    first = one.expected_count if one.counts and _is_time(one.as_of) else None
    shown = Review(
        one,
        acting,
        found.total if first is None else first,
        found.as_of if first is None or one.as_of is None else one.as_of,
        found.job_ids[:SAMPLES],
        0 if first is None else max(0, found.total - first),
        one.must_type(acting.name),
        counts,
        one.given_id or secrets.token_hex(16),
        problem.detail if problem else "",
        str(problem.members.get("link", "")) if problem else "",
    )
    page = render_template("commands/review.html", frame=around, review=shown)
    response = make_response(page, problem.status if problem else 200)
    response.headers["Beacon-Cursor"] = str(cursor)
    response.headers["Beacon-Generation"] = generation()
    response.headers["Cache-Control"] = "private, no-store"  # its ids are used once
    response.headers["Vary"] = "Accept, HX-Request, Cookie"
    return response


def _found(one: Pressed) -> live_preview.JobPreview:
    if one.counts:
        state, queue = one.where
        db.session.remove()  # a service may take its time
        return live_preview.preview_jobs(one.service, state, queue, SAMPLES)
    ids = (one.target,) if one.target else one.ids
    return live_preview.JobPreview(len(ids), utc_text(), ids)


def _acting(service_id: str) -> Acting:
    found = reconciliation.service(db.session(), service_id)
    if found is None:
        raise rejections.not_watched_error(service_id)
    return Acting.of(actor(), found.service)


def _counts(service_id: str) -> str:
    found = reconciliation.service(db.session(), service_id)
    counts = found.counts(current_settings().poll_interval_s)[0] if found else None
    return display_text.counts_in_words(counts) if counts else ""


def _is_time(text: str | None) -> bool:
    try:
        return text is not None and bool(parse_utc(text))
    except ValueError:
        return False
