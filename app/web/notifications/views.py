"""`/notifications`: a person's notifications, filtered by the query; a page for people, JSON for programs."""

from flask import Response, jsonify, redirect
from flask.typing import ResponseReturnValue

from app.db import db
from app.infra.problems import Problem
from app.notifications import message_form
from app.notifications import queries as notifications
from app.notifications.broadcasts import MAX_MESSAGE_CHARS
from app.notifications.message_form import MessageDraft
from app.notifications.queries import SEVERITY_WORDS, NotificationFilter
from app.notifications.request_models import NotificationQuery
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.errors import wants_page
from app.web.layout import add_page_headers, build_layout, render_page
from app.web.listing import build_url, parse_args, wants_data
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
    query = parse_args(NotificationQuery)
    return redirect(_page_url(query, query.page), 303)


def _respond(draft: MessageDraft) -> Response:
    who, session, query = actor(), db.session(), parse_args(NotificationQuery)
    cursor = queries.cursor(session)
    wanted = NotificationFilter(query.q, query.severity, query.service, query.show == "unread")
    items, total = notifications.search_notifications(session, who, wanted, query.page, query.limit)
    unread = notifications.count_unread(session, who)
    meta = {**query.page_meta(total), "unread": unread}
    if wants_data():
        return add_page_headers(jsonify(data=[item.as_json() for item in items], meta=meta), cursor)
    return render_page(
        "notifications/index.html",
        cursor,
        draft.status,
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
        older=_page_url(query, query.page + 1) if query.page < meta["totalPages"] else None,
    )


def _page_url(query: NotificationQuery, page: int) -> str:
    """The address of another page of the same view, without parameters that have their default value."""
    given = query.model_dump(exclude_defaults=True)
    filters = {name: given.get(name) for name in ("q", "severity", "service", "show")}
    return build_url("/notifications", {**filters, "page": page if page > 1 else None, "limit": given.get("limit")})
