"""The layout around every page's content: viewer, cursor, connection settings, refresh; and the page's headers."""

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from flask import Response, make_response, render_template, request

from app.accounts import tokens
from app.accounts.actors import Actor
from app.config import current_settings
from app.db import db
from app.eventlog import reader as log
from app.flags.evaluation import Flag, is_enabled
from app.infra.clock import utc_text
from app.reconciliation.current_status import STALE_AFTER_INTERVALS

LATE_AFTER_INTERVALS = 2
REFRESH_RANGE_S = range(5, 301)
OFFERED_REFRESH_S = 10


@dataclass(frozen=True, slots=True)
class Layout:
    """What the templates need around a page's content.

    `cursor` is read before the page's data: an event committed in between is seen twice, never missed. `now` is the
    server's clock, so that ages do not depend on the reader's clock. `refresh_s` is the reload interval of a page
    without scripts, or None. `refresh_href` turns reloading on or off and keeps the rest of the address; it is None if
    the page has a form, because a reload would lose what somebody types. `session` identifies the login in every
    response, so that a page notices when another person has logged in. `report_share` is the share of pages that
    measure their own connection.
    """

    page: str
    person: str
    role: str
    cursor: int
    stream_on: bool
    now: str
    poll_s: float
    aged_after_s: float
    late_after_s: float
    refresh_s: int | None
    refresh_href: str | None
    session: str
    report_share: float
    generation: str


def build_layout(page: str, who: Actor, cursor: int, *, has_form: bool = False) -> Layout:
    current = current_settings()
    refresh_s = None if has_form else _refresh_s()
    return Layout(
        page,
        who.name,
        who.role,
        cursor,
        is_enabled(Flag.SSE_STREAMING, who.name),
        utc_text(),
        current.fallback_poll_s,
        current.poll_interval_s * STALE_AFTER_INTERVALS,
        current.poll_interval_s * LATE_AFTER_INTERVALS,
        refresh_s,
        None if has_form else _refresh_href(refresh_s),
        tokens.public_session_id(who.login_id) if who.login_id else "",
        current.client_report_share,
        generation(),
    )


def generation() -> str:
    """The generation of the event log that this response's cursor belongs to."""
    return log.bounds(db.session()).generation


def poll_interval() -> timedelta:
    return timedelta(seconds=current_settings().poll_interval_s)


def _refresh_s() -> int | None:
    seconds = request.args.get("refresh", type=int)
    return seconds if seconds in REFRESH_RANGE_S else None


def _refresh_href(refresh_s: int | None) -> str:
    others = [(name, value) for name, value in request.args.items(multi=True) if name != "refresh"]
    pairs = others if refresh_s else [*others, ("refresh", OFFERED_REFRESH_S)]
    return f"{request.path}?{urlencode(pairs)}" if pairs else request.path


def render_page(template: str, cursor: int, status: int = 200, /, **context: object) -> Response:
    """A page or a part of one, as of `cursor`."""
    return add_page_headers(make_response(render_template(template, **context), status), cursor)


def add_page_headers(response: Response, cursor: int) -> Response:
    """Add the cursor; programs and people get different answers from the same address."""
    response.headers["Beacon-Cursor"] = str(cursor)
    response.headers["Beacon-Generation"] = generation()
    response.headers["Vary"] = "Accept, HX-Request, Cookie"
    return response
