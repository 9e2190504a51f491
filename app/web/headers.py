"""Security headers of every response: no inline code, nothing from other origins, no framing."""

from flask import Flask, Response, request


def content_security_policy(*ancestors: str) -> str:
    """The Content-Security-Policy of a page that only pages of these origins may frame."""
    return (
        f"default-src 'self'; img-src 'self' data:; frame-ancestors {' '.join(ancestors)}; base-uri 'none'; "
        "form-action 'self'; object-src 'none'"
    )


DEFAULT_POLICY = content_security_policy("'none'")
SECURITY_HEADERS = {
    "Content-Security-Policy": DEFAULT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Responses are private, and a browser must not show them with Back after logout; it would keep a page that is only
    # `no-cache` in two caches. Static files and streams set their own header.
    "Cache-Control": "private, no-store",
}
HSTS_MAX_AGE_S = 365 * 24 * 3_600


def init_app(app: Flask) -> None:
    app.after_request(_add_headers)


def _add_headers(response: Response) -> Response:
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", f"max-age={HSTS_MAX_AGE_S}")
    return response
