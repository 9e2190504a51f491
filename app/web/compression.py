"""Compresses pages and JSON with gzip if the client accepts it; streams are never compressed.

Text from an attacker must not be compressed together with a secret (BREACH), and a page contains the form token and
reflects `?q=`. Three things prevent the attack: the token's signature covers the second of its creation, so guesses do
not accumulate; the session cookie is SameSite=Lax, so only top-level navigations carry it; and responses to
navigations from another site are not compressed.
"""

import gzip

from flask import Flask, Response, request

GZIP_LEVEL = 6
# Below this size the saving is smaller than the response headers.
MIN_COMPRESSED_BYTES = 1_000
COMPRESSED_TYPES = frozenset(
    {"text/html", "application/json", "application/problem+json", "text/plain", "text/css", "text/javascript"}
)


def init_app(app: Flask) -> None:
    app.after_request(_compress)


def takes_gzip() -> bool:
    return request.accept_encodings["gzip"] > 0


def _compress(response: Response) -> Response:
    if response.mimetype not in COMPRESSED_TYPES or response.is_streamed or response.direct_passthrough:
        return response
    response.vary.add("Accept-Encoding")
    if (
        "Content-Encoding" in response.headers
        or not takes_gzip()
        or request.headers.get("Sec-Fetch-Site") == "cross-site"
    ):
        return response
    content = response.get_data()
    if len(content) >= MIN_COMPRESSED_BYTES and response.status_code != 206:
        response.set_data(gzip.compress(content, GZIP_LEVEL, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response
