"""`/widgets/notifications`: the panel for other sites to embed, and the token that fills it.

The shell is served to anyone and contains no data. On the same site the login session fills it; a page of another site
passes a ten-minute token by `postMessage`, which the widget keeps in memory only.
"""

from flask import Response, jsonify, make_response, render_template, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field

from app.accounts import tokens, users
from app.audit import chain
from app.config import current_settings
from app.db import db, write
from app.infra.problems import Problem
from app.notifications import queries
from app.web.auth import actor, require
from app.web.headers import content_security_policy
from app.web.notifications import bp
from app.web.notifications.routes import render_panel

# A widget polls at this share of a page's interval, because its answer is usually `304`; below the minimum only if the
# setting is.
POLL_SHARE, MIN_POLL_S = 0.3, 1.0


class WidgetTokenRequest(BaseModel):
    """The user whose notifications the widget will show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = Field(min_length=1, max_length=64)


@bp.get("/widgets/notifications")
def show_shell() -> Response:
    """An empty shell, the same for everybody; it sets no cookie."""
    current = current_settings()
    origins = current.widget_origins
    page = render_template(
        "notifications/widget.html",
        origins=origins,
        poll_s=min(current.fallback_poll_s, max(MIN_POLL_S, current.fallback_poll_s * POLL_SHARE)),
        token_s=tokens.WIDGET_TOKEN_S,
    )
    response = make_response(page)
    response.headers["Content-Security-Policy"] = content_security_policy("'self'", *origins)
    response.headers["Cache-Control"] = "no-cache"
    return response


@bp.get("/widgets/notifications/content")
@require("viewer", scope="widget")
def show_content() -> Response:
    """The content of the shell: with the CSRF token of its forms for a login session, without for a widget token.

    `304` if it is still what the widget shows, because a widget has no stream and asks often.
    """
    who, session = actor(), db.session()
    unread = queries.count_unread(session, who)
    version = queries.panel_version(session, who, unread)
    if version in request.if_none_match:
        response = Response(status=304)
    else:
        response = make_response(render_panel(unread, dismissed=[], may_mute=False, by_token=who.scopes))
    response.set_etag(version)
    response.headers["Vary"] = "Authorization, Cookie"
    return response


@bp.post("/api/widgets/token")
@require("admin", scope="admin")
def create_token() -> ResponseReturnValue:
    """A ten-minute token that may only read one user's notifications and mark them as read."""
    wanted = WidgetTokenRequest.model_validate(request.get_json())
    with write() as session:
        try:
            user = users.find(session, wanted.user)
        except users.UnknownUserOrToken as error:
            raise Problem(404, "No such user", "There is no user with this name.") from error
        if user.disabled_at:
            raise Problem(404, "No such user", "This user is disabled.")
        chain.record(session, chain.Entry(actor().name, "widget-token", user.name))
        text = tokens.create_widget_token(user)
    return jsonify(token=text, expiresInS=tokens.WIDGET_TOKEN_S), 201, {"Cache-Control": "no-store"}
