"""The panel, what a person does in it, and an operator's message."""

from dataclasses import dataclass
from typing import Any

from flask import jsonify, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.db import db, write
from app.infra.problems import Problem
from app.notifications import broadcasts, marks, queries, request_models
from app.notifications.queries import Flash
from app.web.auth import actor, require
from app.web.notifications import bp


@dataclass(frozen=True, slots=True)
class Notices:
    """What every page shows of them at first: the bell's number, and the messages that have not ended."""

    unread: int
    flashes: list[Flash]


@bp.app_context_processor
def notices() -> dict[str, Any]:
    """Asked only by pages that have a viewer: a problem's page must not ask the database."""

    def look() -> Notices:
        who, session = actor(), db.session()
        return Notices(queries.unread_count(session, who), queries.flashes(session, who))

    return {"notices": look, "mute_choices": request_models.MUTE_CHOICES, "flash_choices": request_models.FLASH_CHOICES}


@bp.get("/notifications/panel")
@require("viewer")
def panel() -> ResponseReturnValue:
    """The panel's content for whoever is logged in; refetched whenever an event names it."""
    who, session = actor(), db.session()
    unread, groups = queries.unread_count(session, who), queries.panel(session, who)
    put_away = queries.dismissed(session, who)
    page = render_template("notifications/_panel.html", unread=unread, groups=groups, dismissed=put_away, may_mute=True)
    response = make_response(page)
    response.headers["Cache-Control"] = "private, no-store"
    return response


@bp.post("/notifications/read")
@require("viewer", scope="widget")
def read() -> ResponseReturnValue:
    """`{ids}` or `{all: true}`; what this person may not see is left alone, without a word."""
    wanted = request_models.Read.model_validate(request_models.posted())
    with write() as session:
        marks.mark_read(session, actor(), wanted.ids)
        unread = queries.unread_count(session, actor())
    return _done(unread=unread)


@bp.post("/notifications/mute")
@require("viewer")
def mute() -> ResponseReturnValue:
    """`{service, until}`; `until: null` ends it."""
    wanted = request_models.Quiet.model_validate(request_models.posted(minutes="until"))
    try:
        with write() as session:
            marks.mute(session, actor(), wanted.service, wanted.until)
            mutes = queries.mutes_of(session, actor())
    except marks.Unknown as error:
        raise Problem(404, "No such service", "Beacon watches no service of this id.") from error
    return _done(mutes=mutes)


@bp.post("/notifications/dismiss")
@require("viewer")
def dismiss() -> ResponseReturnValue:
    """`{id}`: an operator's message that this person has read."""
    flash_id = request_models.posted().get("id")
    try:
        with write() as session:
            marks.dismiss(session, actor(), flash_id if isinstance(flash_id, str) else "")
    except marks.Unknown as error:
        raise Problem(404, "No such message", "It has ended, or there never was one of this id.") from error
    return _done(dismissed=flash_id)


@bp.post("/api/flash")
@require("operator", scope="command")
def send_flash() -> ResponseReturnValue:
    """`{severity, text, expiresAt}`, audited; everybody who has a page open sees it at once."""
    wanted = request_models.Message.model_validate(request_models.posted(minutes="expiresAt"))
    try:
        with write() as session:
            sent = broadcasts.send(session, actor().name, wanted.severity, wanted.text, wanted.expires_at)
    except broadcasts.TooMany as error:
        raise Problem(409, "Too many messages", f"{error}.") from error
    except broadcasts.BadFlash as error:
        raise Problem(400, "Bad input", f"expiresAt: {error}", errors={"expiresAt": str(error)}) from error
    return _done(201, id=sent)


def _done(status: int = 200, **answer: Any) -> ResponseReturnValue:
    """JSON for scripts and programs; a form without scripts goes back to where it was sent from."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html" and not request.is_json:
        return redirect(_next(), 303)
    return jsonify(answer), status


def _next() -> str:
    """A path of this site and nothing else (`//host` and `/\\host` leave it)."""
    target = request.form.get("next", "")
    local = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if local and target.isprintable() else "/notifications"
