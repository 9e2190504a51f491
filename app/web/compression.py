"""Pages and JSON leave compressed where the reader takes that; streams never do.

What an attacker can put beside a secret must not be compressed with it (BREACH). A page holds the form token, and
reflects `?q=`. Three things stand against that: the token's signature covers the second in which it was made, so
that guesses do not add up; the session cookie is SameSite=Lax, so that only whole navigations carry it; and an
answer to a navigation that another site began is left as it is.
"""

import gzip

from flask import Flask, Response, request

GZIP_LEVEL = 6
# Below, the head of an answer weighs more than what is saved.
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
