"""`/notifications`: a person's notifications, filtered by the query; a page for people, JSON for programs."""

from typing import Any
from urllib.parse import urlencode

from flask import Response, jsonify, make_response, redirect, render_template, request
from flask.typing import ResponseReturnValue

from app.db import db
from app.infra.problems import Problem
from app.notifications import message_form
from app.notifications import queries as notifications
from app.notifications.broadcasts import MAX_MESSAGE_CHARS
from app.notifications.message_form import MessageDraft
from app.notifications.queries import SEVERITY_WORDS, NotificationFilter
from app.notifications.request_models import DEFAULT_LIMIT, NotificationQuery
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.errors import wants_page
from app.web.layout import add_page_headers, build_layout
from app.web.notifications import bp


@bp.get("/notifications")
@require("viewer", scope=("read", "widget"))
def index() -> Response:
    """A page for people; `{data, meta}` for programs. A token gets no page: a page shows more than its scope allows."""
    return _respond(message_form.EMPTY_DRAFT)


@bp.post("/notifications")
@require("operator")
def post_message() -> ResponseReturnValue:
    """The page's form for an operator's message; programs post to `/api/flash`."""
    rejected = message_form.send_posted_message(actor())
    if rejected is not None and not wants_page():
        raise Problem(rejected.status, "Not sent", rejected.error)
    if rejected is not None:
        return _respond(rejected)
    query = _parse_query()
    return redirect(_page_url(query, query.page), 303)


def _respond(draft: MessageDraft) -> Response:
    who, session, query = actor(), db.session(), _parse_query()
    cursor = queries.cursor(session)
    wanted = NotificationFilter(query.q, query.severity, query.service, query.show == "unread")
    items, total = notifications.search_notifications(session, who, wanted, query.page, query.limit)
    unread = notifications.count_unread(session, who)
    pages = -(-total // query.limit)
    meta = {"page": query.page, "limit": query.limit, "total": total, "totalPages": pages, "unread": unread}
    response: Response
    if who.scopes is not None or not wants_page():
        response = jsonify(data=[item.as_json() for item in items], meta=meta)
    else:
        page = render_template(
            "notifications/index.html",
            layout=build_layout("notifications", who, cursor, has_form=who.has_role("operator")),
            items=items,
            query=query,
            meta=meta,
            services=registry.list_services(session),
            mutes=notifications.load_mutes(session, who),
            may_send=who.has_role("operator"),
            max_chars=MAX_MESSAGE_CHARS,
            severity_words=SEVERITY_WORDS,
            draft=draft,
            here=_page_url(query, query.page),
            first=_page_url(query, 1),
            newer=_page_url(query, query.page - 1) if query.page > 1 else None,
            older=_page_url(query, query.page + 1) if query.page < pages else None,
        )
        response = make_response(page, draft.status)
    return add_page_headers(response, cursor)


def _parse_query() -> NotificationQuery:
    return NotificationQuery.model_validate(request.args.to_dict())


def _page_url(query: NotificationQuery, page: int) -> str:
    """The address of another page of the same view, without parameters that have their default value."""
    given: dict[str, Any] = {"q": query.q, "severity": query.severity, "service": query.service, "show": query.show}
    if page > 1:
        given["page"] = page
    if query.limit != DEFAULT_LIMIT:
        given["limit"] = query.limit
    encoded = urlencode({name: value for name, value in given.items() if value})
    return f"/notifications?{encoded}" if encoded else "/notifications"
