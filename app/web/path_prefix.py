"""The path below which a proxy shows Beacon, such as `/beacon`; empty if Beacon has the host for itself.

Inside the application every address begins at `/`: in templates, redirects, the event log, and in fragments, which are
rendered once for all viewers. `trusted_proxies` reads the prefix into WSGI's SCRIPT_NAME. This module adds it to
responses and removes it from addresses that come in, so that no template and no route can forget it.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from flask import Flask, Response, has_request_context, request

from app.eventlog.reader import Event
from app.stream.formats import CACHED_HTML_FRAMES, EventFormat

# The attributes of our templates that hold addresses. No text of a user looks like one, since its quotes are escaped.
_ADDRESS = re.compile(r'(\s(?:href|src|action|formaction|hx-(?:get|post))=")/(?!/)')
_BODY = re.compile(r"<body\b")
# A deployment has one, or one for each proxy. If there are more, a proxy passes on what clients send.
MAX_PREFIXES = 8


def init_app(app: Flask) -> None:
    app.after_request(_add_to_response)


def current_prefix() -> str:
    return request.root_path.rstrip("/") if has_request_context() else ""


def add_prefix(path: str) -> str:
    """The address that browsers use for a path of this site."""
    return f"{current_prefix()}{path}"


def remove_prefix(address: str) -> str | None:
    """The path inside the application, or None for an address outside the prefix, where other applications live."""
    prefix = current_prefix()
    if not prefix:
        return address
    rest = address.removeprefix(prefix)
    if rest == address or rest[:1] not in ("", "/", "?", "#"):
        return None
    return rest if rest.startswith("/") else f"/{rest}"


def cookie_name(name: str) -> str:
    """The name under which browsers keep a cookie.

    Over TLS it begins with `__Host-`: browsers then take it only from this very host, and only with `Path=/`
    (RFC 6265bis, section 4.1.3.2). So the path cannot keep the logins of two Beacons on one host apart; the name does.
    """
    own = f"{name}{current_prefix().replace('/', '.')}"
    return f"__Host-{own}" if request.is_secure else own


def build_html_formats(plain: EventFormat) -> Callable[[str], EventFormat]:
    """Return a function that gives each prefix its HTML format: always the same object, because streams share it."""

    @lru_cache(maxsize=MAX_PREFIXES)
    def prefixed(prefix: str) -> EventFormat:
        @lru_cache(maxsize=CACHED_HTML_FRAMES)
        def encode(event: Event) -> bytes | None:
            frame = plain(event)
            return frame and _prefix_addresses(frame.decode(), prefix).encode()

        return EventFormat(plain.name, encode)

    return lambda prefix: prefixed(prefix) if prefix else plain


def _add_to_response(response: Response) -> Response:
    prefix = current_prefix()
    if not prefix:
        return response
    location = response.headers.get("Location", "")
    if location.startswith("/") and not location.startswith("//"):
        response.headers["Location"] = f"{prefix}{location}"
    if response.mimetype != "text/html" or response.is_streamed or response.direct_passthrough:
        return response
    if page := _prefix_addresses(response.get_data(as_text=True), prefix):
        # For scripts; the attribute is only there if there is a prefix, so that other pages do not get longer.
        response.set_data(_BODY.sub(f'<body data-root="{prefix}"', page, count=1))
    return response


def _prefix_addresses(html: str, prefix: str) -> str:
    return _ADDRESS.sub(rf"\g<1>{prefix}/", html)
