"""Protects against cross-site request forgery: a form needs a token and must come from Beacon's own origin.

A refusal says which of the two was wrong and, for a wrong origin, which setting or header to correct.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar
from urllib.parse import urlsplit

from flask import Flask, current_app, request, session
from flask_login import current_user
from flask_wtf.csrf import CSRFError, CSRFProtect

from app.infra.problems import Problem
from app.web.auth import SAFE_METHODS, bearer_token, unauthorized_problem
from app.web.trusted_proxies import DEFAULT_PORTS, current_proxy

P = ParamSpec("P")
R = TypeVar("R")

_protection = CSRFProtect()
_EXEMPT_VIEWS: set[Callable[..., Any]] = set()


class Origin(NamedTuple):
    """The origin of a page, as the browser or as Beacon sees it."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        is_default = self.port in (None, DEFAULT_PORTS.get(self.scheme))
        return f"{self.scheme}://{host}" if is_default else f"{self.scheme}://{host}:{self.port}"


def exempt_from_csrf(view: Callable[P, R]) -> Callable[P, R]:
    """Exempt a POST view that changes nothing from the CSRF check. A broken or anonymous page may have no token."""
    _EXEMPT_VIEWS.add(view)
    return view


def init_app(app: Flask) -> None:
    app.config["WTF_CSRF_CHECK_DEFAULT"] = False
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # valid as long as the session: a page left open overnight must still work
    app.config["WTF_CSRF_SSL_STRICT"] = False  # it compares the Referer with Host, which proxies usually change
    _protection.init_app(app)
    app.before_request(_check)


def _check() -> None:
    """Check requests that a cookie authenticates. Browsers do not send bearer tokens on their own."""
    if request.method in SAFE_METHODS or bearer_token() is not None:
        return
    if current_app.view_functions.get(request.endpoint or "") in _EXEMPT_VIEWS:
        return
    _check_origin()
    try:
        _protection.protect()
    except CSRFError as error:
        if not current_user.is_authenticated and request.endpoint != "account.try_login":
            raise unauthorized_problem() from error
        raise Problem(400, "Form expired", _token_advice(), reason="csrf") from error


def _check_origin() -> None:
    """Check the request's origin with headers that a page cannot forge.

    Browsers send `Sec-Fetch-Site` over TLS and on localhost; it is independent of Beacon's own address. `Origin` and
    `Referer` must be compared with it.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site in ("same-origin", "none"):
        return
    theirs = request.headers.get("Origin") or request.referrer
    if site == "cross-site":
        raise _origin_problem(f"Your browser says that a page of another site sent this ({theirs or 'unknown'}).")
    if not request.is_secure or theirs is None:
        return
    browser, own = _parse_origin(theirs), _own_origin()
    if browser is None or _origins_differ(browser, own):
        where = "an undisclosed address" if browser is None else str(browser)
        raise _origin_problem(
            f"Your browser sent this from {where}; Beacon's own address is {own}. {_address_advice()}"
        )


def _origin_problem(detail: str) -> Problem:
    return Problem(400, "Address does not match", detail, reason="origin")


def _origins_differ(browser: Origin, own: Origin) -> bool:
    """Compare scheme, host and port. The port is ignored if the trusted proxy did not send it.

    Proxies usually send the host without its port. Ignoring it loses nothing, because a browser sends the same cookies
    to all ports of a host.
    """
    if (browser.scheme, browser.host) != (own.scheme, own.host):
        return True
    proxy = current_proxy()
    return browser.port != own.port and (not proxy.is_trusted or proxy.sent_port)


def _parse_origin(url: str) -> Origin | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        return None
    return Origin(parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme])


def _own_origin() -> Origin:
    return _parse_origin(f"{request.scheme}://{request.host}") or Origin(request.scheme, request.host, None)


def _address_advice() -> str:
    """A sentence on which header or setting to correct."""
    proxy = current_proxy()
    if proxy.sent_headers and not proxy.is_trusted:
        ignored = f"It ignored {', '.join(proxy.sent_headers)} from {proxy.address}"
        return f"{ignored}: if that is your proxy, add it to BEACON_TRUSTED_PROXIES."
    if proxy.is_trusted:
        return (
            f"The proxy at {proxy.address} must forward the address that your browser uses: "
            "in nginx, proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto $scheme;"
        )
    return "If there is a proxy in front, it must forward Host, and its address must be in BEACON_TRUSTED_PROXIES."


def _token_advice() -> str:
    again = "Reload the page and send it again"
    if "csrf_token" in session:
        return f"{again}."
    advice = (
        f"Your browser sent no Beacon cookie with this form. {again}. If that fails, allow cookies for this address"
    )
    if not request.is_secure:
        return f"{advice}."
    return f"{advice}; if your browser does not show {_own_origin()}, the proxy sends a wrong X-Forwarded-Proto."
