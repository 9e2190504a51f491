"""The panel of notifications, its actions, and `/api/flash` for operators' messages."""

from dataclasses import dataclass
from typing import Any

from flask import jsonify, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.db import db, write
from app.infra.problems import Problem
from app.notifications import broadcasts, marks, queries, request_models
from app.notifications.queries import Flash
from app.web.auth import actor, require
from app.web.notifications import bp
from app.web.page_address import local_path


@dataclass(frozen=True, slots=True)
class PageNotifications:
    """What every page shows: the number at the bell, and the open messages."""

    unread: int
    messages: list[Flash]


@bp.app_context_processor
def add_to_templates() -> dict[str, Any]:
    """A function, so that only pages with a viewer call it: an error page must not query the database."""

    def load_page_notifications() -> PageNotifications:
        who, session = actor(), db.session()
        return PageNotifications(queries.count_unread(session, who), queries.load_open_messages(session, who))

    return {
        "page_notifications": load_page_notifications,
        "mute_choices": request_models.MUTE_CHOICES,
        "message_choices": request_models.MESSAGE_CHOICES,
    }


@bp.get("/notifications/panel")
@require("viewer")
def show_panel() -> ResponseReturnValue:
    """The panel's content for the person who is logged in; pages fetch it again when an event says so."""
    return render_panel(dismissed=queries.load_dismissed_ids(db.session(), actor()), may_mute=True)


def render_panel(unread: int | None = None, **context: Any) -> str:
    who, session = actor(), db.session()
    groups = queries.load_panel(session, who)
    if unread is None:
        unread = queries.count_unread(session, who)
    return render_template("notifications/_panel.html", unread=unread, groups=groups, **context)


@bp.post("/notifications/read")
@require("viewer", scope="widget")
def mark_read() -> ResponseReturnValue:
    """`{ids}` or `{all: true}`; ids that this person may not see are ignored."""
    wanted = request_models.MarkReadRequest.model_validate(request_models.parse_body())
    with write() as session:
        marks.mark_read(session, actor(), wanted.ids)
        unread = queries.count_unread(session, actor())
    return _respond(unread=unread)


@bp.post("/notifications/mute")
@require("viewer")
def mute() -> ResponseReturnValue:
    """`{service, until}`; `until: null` unmutes the service."""
    wanted = request_models.MuteRequest.model_validate(request_models.parse_body(minutes="until"))
    try:
        with write() as session:
            marks.mute_service(session, actor(), wanted.service, wanted.until)
            mutes = queries.load_mutes(session, actor())
    except marks.UnknownTarget as error:
        raise Problem(404, "No such service", "Beacon watches no service with this id.") from error
    return _respond(mutes=mutes)


@bp.post("/notifications/dismiss")
@require("viewer")
def dismiss() -> ResponseReturnValue:
    """`{id}`: an operator's message that this person no longer wants to see."""
    flash_id = request_models.parse_body().get("id")
    try:
        with write() as session:
            marks.dismiss_message(session, actor(), flash_id if isinstance(flash_id, str) else "")
    except marks.UnknownTarget as error:
        raise Problem(404, "No such message", "It has ended, or no message has this id.") from error
    return _respond(dismissed=flash_id)


@bp.post("/api/flash")
@require("operator", scope="command")
def send_flash() -> ResponseReturnValue:
    """`{severity, text, expiresAt}`, audited; every open page shows it at once."""
    wanted = request_models.MessageRequest.model_validate(request_models.parse_body(minutes="expiresAt"))
    try:
        with write() as session:
            sent = broadcasts.send_message(session, actor().name, wanted.severity, wanted.text, wanted.expires_at)
    except broadcasts.TooManyMessages as error:
        raise Problem(409, "Too many messages", f"{error}.") from error
    except broadcasts.InvalidMessage as error:
        raise Problem(400, "Bad input", f"expiresAt: {error}", errors={"expiresAt": str(error)}) from error
    return _respond(201, id=sent)


def _respond(status: int = 200, **answer: Any) -> ResponseReturnValue:
    """JSON for scripts and programs; a form without scripts is redirected to the page it was sent from."""
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html" and not request.is_json:
        return redirect(local_path(request.form.get("next", ""), "/notifications"), 303)
    return jsonify(answer), status
