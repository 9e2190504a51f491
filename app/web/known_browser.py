"""A signed cookie with the users who have logged in with this browser. It grants no access.

Login throttling counts a known browser on its own, so that guessing a user's password elsewhere slows down strangers,
but not this browser (OWASP: device cookies). For the same reason its bodies are counted on their own.
"""

import hashlib
import secrets
from typing import Any

from flask import Response, g, request
from itsdangerous import BadSignature

from app.accounts.tokens import serializer
from app.web.path_prefix import cookie_name

COOKIE_DAYS = 180
# A screen in a control room has several users.
MAX_USERS = 5
COOKIE_NAME = "beacon-browser"
_SALT = "beacon-known-browser"


def find_throttle_key(name: str) -> str | None:
    """The key to count this browser's failed logins of `name` under, or None if `name` never logged in here."""
    found = _read_marks().get(name)
    return f"{name}\n{found}" if found else None


def find_browser_key() -> str | None:
    """A key for this browser, whoever logs in with it next, or None if nobody ever did."""
    marks = sorted(_read_marks().items())
    return hashlib.sha256(repr(marks).encode()).hexdigest() if marks else None


def remember_user(name: str) -> None:
    """Remember that `name` logged in with this browser; the current response will set the cookie."""
    g.known_browser = name


def save_cookie(response: Response) -> None:
    """Set the cookie. A user gets a new mark at each login, so that a copied old cookie is counted separately."""
    name = g.pop("known_browser", None)
    if name is None:
        return
    others = {person: mark for person, mark in _read_marks().items() if person != name}
    latest = dict(list(others.items())[-(MAX_USERS - 1) :])
    response.set_cookie(
        cookie_name(COOKIE_NAME),
        serializer(_SALT).dumps({**latest, name: secrets.token_urlsafe(9)}),
        max_age=COOKIE_DAYS * 24 * 3_600,
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )


def _read_marks() -> dict[str, str]:
    try:
        found: Any = serializer(_SALT).loads(
            request.cookies.get(cookie_name(COOKIE_NAME), ""), max_age=COOKIE_DAYS * 24 * 3_600
        )
    except BadSignature:
        return {}
    return dict(found)
