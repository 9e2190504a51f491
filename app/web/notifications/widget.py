"""`/widgets/notifications`: the panel for other pages to embed, and the token with which their servers fill it.

The shell answers anyone and holds nothing. On the same site the login session fills it; another site's page hands
over a ten-minute token by `postMessage`, which the widget keeps in memory only.
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


class TokenFor(BaseModel):
    """Whose notifications the widget will show."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str = Field(min_length=1, max_length=64)


@bp.get("/widgets/notifications")
def shell() -> Response:
    """An empty shell, the same for everybody; it sets no cookie."""
    current = current_settings()
    origins = current.widget_origins
    page = render_template(
        "notifications/widget.html", origins=origins, poll_s=current.fallback_poll_s, token_s=tokens.WIDGET_TOKEN_S
    )
    response = make_response(page)
    response.headers["Content-Security-Policy"] = content_security_policy("'self'", *origins)
    response.headers["Cache-Control"] = "no-cache"
    return response


@bp.get("/widgets/notifications/content")
@require("viewer", scope="widget")
def content() -> Response:
    """What fills the shell: for a login session with the CSRF token of its forms, for a widget token without."""
    who, session = actor(), db.session()
    unread, groups = queries.unread_count(session, who), queries.panel(session, who)
    page = render_template(
        "notifications/_panel.html", unread=unread, groups=groups, dismissed=[], may_mute=False, by_token=who.scopes
    )
    response = make_response(page)
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Vary"] = "Authorization, Cookie"
    return response


@bp.post("/api/widgets/token")
@require("admin", scope="admin")
def token() -> ResponseReturnValue:
    """A token that reads one user's notifications and marks them read for ten minutes, and does nothing else."""
    wanted = TokenFor.model_validate(request.get_json())
    with write() as session:
        try:
            user = users.find(session, wanted.user)
        except users.UnknownUserOrToken as error:
            raise Problem(404, "No such user", "Nobody of this name has a login here.") from error
        if user.disabled_at:
            raise Problem(404, "No such user", "This user is disabled.")
        chain.record(session, chain.Entry(actor().name, "widget-token", user.name))
        text = tokens.create_widget_token(user)
    response = jsonify(token=text, expiresInS=tokens.WIDGET_TOKEN_S)
    response.headers["Cache-Control"] = "no-store"
    return make_response(response, 201)
