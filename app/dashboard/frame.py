"""What every page carries around its content."""

from dataclasses import dataclass
from datetime import timedelta

from flask import request

from app.accounts import tokens
from app.accounts.access import Actor
from app.clock import utc_text
from app.config import current_settings
from app.rollout.flags import Flag, is_enabled

AGED_AFTER_INTERVALS = 3
LATE_AFTER_INTERVALS = 2
REFRESH_S = range(5, 301)


@dataclass(frozen=True, slots=True)
class Frame:
    """`cursor` is read before the page's data: an event committed in between is seen twice, never missed.

    `now` is the server's clock, so that ages do not depend on the reader's. `refresh_s` is what a page
    without scripts reloads after, or None. `session` names the login in every answer, so that a page notices when
    its browser has changed hands.
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
    session: str


def frame(page: str, who: Actor, cursor: int) -> Frame:
    current = current_settings()
    return Frame(
        page,
        who.name,
        who.role,
        cursor,
        is_enabled(Flag.SSE_STREAMING, who.name),
        utc_text(),
        current.fallback_poll_s,
        current.poll_interval_s * AGED_AFTER_INTERVALS,
        current.poll_interval_s * LATE_AFTER_INTERVALS,
        _refresh_s(),
        tokens.opaque(who.login_id) if who.login_id else "",
    )


def aged_after() -> timedelta:
    return timedelta(seconds=current_settings().poll_interval_s * AGED_AFTER_INTERVALS)


def _refresh_s() -> int | None:
    asked = request.args.get("refresh", type=int)
    return asked if asked in REFRESH_S else None
