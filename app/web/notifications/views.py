"""`/notifications`: all that a person may notice, searched and filtered by its address; JSON for programs."""

from typing import Any
from urllib.parse import urlencode

from flask import Response, jsonify, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.db import db
from app.infra.problems import Problem
from app.notifications import message_form
from app.notifications import queries as notifications
from app.notifications.broadcasts import MAX_CHARS
from app.notifications.message_form import Draft
from app.notifications.queries import SEVERITY_WORDS, Filter
from app.notifications.request_models import USUAL_LIMIT, PageQuery
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.errors import wants_page
from app.web.layout import add_page_headers, build_layout
from app.web.notifications import bp


@bp.get("/notifications")
@require("viewer", scope=("read", "widget"))
def index() -> Response:
    """A page for people; `{data, meta}` for programs. A token gets no page: there is more on it than notifications."""
    return _answer(message_form.EMPTY)


@bp.post("/notifications")
@require("operator")
def tell_everybody() -> ResponseReturnValue:
    """The page's form for an operator's message; programs post to `/api/flash`."""
    refused = message_form.send(actor())
    if refused is not None and not wants_page():
        raise Problem(refused.status, "Not sent", refused.wrong)
    if refused is not None:
        return _answer(refused)
    asked = _asked()
    return redirect(_address(asked, asked.page), 303)


def _answer(typed: Draft) -> Response:
    who, session, asked = actor(), db.session(), _asked()
    cursor = queries.cursor(session)
    wanted = Filter(asked.q, asked.severity, asked.service, asked.show == "unread")
    items, total = notifications.search(session, who, wanted, asked.page, asked.limit)
    unread = notifications.unread_count(session, who)
    pages = -(-total // asked.limit)
    meta = {"page": asked.page, "limit": asked.limit, "total": total, "totalPages": pages, "unread": unread}
    response: Response
    if who.scopes is not None or not wants_page():
        response = jsonify(data=[item.as_json() for item in items], meta=meta)
    else:
        page = render_template(
            "notifications/index.html",
            layout=build_layout("notifications", who, cursor, has_form=who.has_role("operator")),
            items=items,
            asked=asked,
            meta=meta,
            services=registry.watched(session),
            mutes=notifications.mutes_of(session, who),
            may_send=who.has_role("operator"),
            max_chars=MAX_CHARS,
            severity_words=SEVERITY_WORDS,
            draft=typed,
            here=_address(asked, asked.page),
            first=_address(asked, 1),
            newer=_address(asked, asked.page - 1) if asked.page > 1 else None,
            older=_address(asked, asked.page + 1) if asked.page < pages else None,
        )
        response = make_response(page, typed.status)
    return add_page_headers(response, cursor)


def _asked() -> PageQuery:
    return PageQuery.model_validate(request.args.to_dict())


def _address(asked: PageQuery, page: int) -> str:
    """The same view, of another page; what is as usual is left out."""
    given: dict[str, Any] = {"q": asked.q, "severity": asked.severity, "service": asked.service, "show": asked.show}
    if page > 1:
        given["page"] = page
    if asked.limit != USUAL_LIMIT:
        given["limit"] = asked.limit
    query = urlencode({name: value for name, value in given.items() if value})
    return f"/notifications?{query}" if query else "/notifications"
