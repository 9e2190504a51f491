"""The session cookie: over TLS it is bound to this host, and public responses neither set nor depend on it."""

from flask import Flask, Request, Response, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from typing_extensions import override

from app.web import known_browser, path_prefix

COOKIE_NAME = "beacon"


class LoginCookie(SecureCookieSessionInterface):
    @override
    def get_cookie_name(self, app: Flask) -> str:
        return path_prefix.cookie_name(COOKIE_NAME)

    @override
    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    @override
    def get_cookie_path(self, app: Flask) -> str:
        return "/"

    @override
    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        # Programs send no cookie, and the signer is made again for each request.
        if self.get_cookie_name(app) not in request.cookies:
            return self.session_class()
        return super().open_session(app, request)

    @override
    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # A shared cache would give one user's cookie to others.
        if not response.cache_control.public:
            super().save_session(app, session, response)
            known_browser.save_cookie(response)
