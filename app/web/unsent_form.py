"""Keeps what was typed into a form that was refused, and fills it in when its page is opened again.

A login that has ended, an outdated form token or a database that is away refuses a form before its view can show it
again. What was typed is then kept in a signed cookie of this browser, which needs no script, no login and no database.
It is only filled in for the user who had typed it. Passwords, tokens and other secrets are never kept.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, g, request, session
from itsdangerous import BadSignature, URLSafeTimedSerializer
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict
from werkzeug.exceptions import HTTPException

from app.accounts.tokens import serializer
from app.infra.redaction import redact
from app.web.form_filler import FilledPage, fill_form
from app.web.page_address import page_of_form
from app.web.path_prefix import cookie_name

COOKIE_NAME = "beacon-unsent"
KEPT_S = 30 * 60
# Browsers accept 4,096 bytes for the name, the value and the attributes of a cookie.
MAX_COOKIE_BYTES = 3_800
MAX_FORM_BYTES = 64 * 1024
# A longer value lists the items that the page showed, or does not fit into the cookie anyway.
MAX_VALUE_CHARS = 3_000
# Shown as text if the page has no such form any more.
PROSE_FIELDS = ("reason", "text")
FORMER_USER = "former_user"
_SALT = "beacon-unsent-form"
# The page sets these fields, nobody types them. A new page sets them again.
_UNKEPT_FIELDS = frozenset(
    {"csrf_token", "nonce", "next", "do", "scope", "state", "seen", "asOf", "expectedCount", "pageIds"}
)
_UNKEPT_ENDPOINTS = frozenset({"account.try_login", "account.logout", "account.choose_theme"})
_MAIN = '<main id="main">'


class UnsentForm(BaseModel):
    """The submitted fields of the user with this Flask-Login id. `page`: the path of the page that has the form."""

    model_config = ConfigDict(frozen=True)

    user: str
    page: str
    path: str
    fields: dict[str, list[str]]
    has_ticks: bool = True


def init_app(app: Flask) -> None:
    app.after_request(_fill_in)
    app.after_request(_save_cookie)


def keep() -> bool:
    """Keep the fields of this request, if it is a form from one of Beacon's pages; False if it was not kept."""
    page, user = page_of_form(), session.get("_user_id") or session.get(FORMER_USER)
    if page is None or not user or request.endpoint in _UNKEPT_ENDPOINTS:
        return False
    fields = dict(_read_fields())
    single = {name: values for name, values in fields.items() if len(values) == 1}
    for kept, has_ticks in ((fields, True), (single, False)):
        form = UnsentForm(user=user, page=urlsplit(page).path, path=request.path, fields=kept, has_ticks=has_ticks)
        text = _serializer().dumps(form.model_dump())
        if kept and len(text) <= MAX_COOKIE_BYTES:
            g.unsent_form = text
            return True
    return False


def _read_fields() -> Iterator[tuple[str, list[str]]]:
    if request.mimetype not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return
    if not 0 < (request.content_length or 0) <= MAX_FORM_BYTES:
        return
    try:
        given = request.form.to_dict(flat=False)
    except HTTPException:
        return
    for name, values in given.items():
        is_short = sum(map(len, values)) <= MAX_VALUE_CHARS or len(values) > 1
        if name not in _UNKEPT_FIELDS and is_short and any(values) and redact({name: values}) == {name: values}:
            yield name, values


def _save_cookie(response: Response) -> Response:
    text = g.get("unsent_form")
    if text is not None and not response.cache_control.public:
        _set_cookie(response, text, KEPT_S)
    return response


def _fill_in(response: Response) -> Response:
    """Fill in the form if this is its page, opened by the user who had typed it."""
    if request.method != "GET" or cookie_name(COOKIE_NAME) not in request.cookies or not _is_page(response):
        return response
    form = _read_cookie()
    if form is not None and (form.page != request.path or form.user != session.get("_user_id")):
        return response
    _set_cookie(response, "", 0)
    if form is not None:
        html = response.get_data(as_text=True)
        filled = fill_form(html, form.path, form.fields, has_ticks=form.has_ticks)
        response.set_data((filled.html if filled else html).replace(_MAIN, f"{_MAIN}{_note(form, filled)}", 1))
    return response


def _is_page(response: Response) -> bool:
    """A page that somebody looks at, not a part of one that a script fetches."""
    is_navigation = request.headers.get("Sec-Fetch-Dest", "document") == "document"
    is_part = request.headers.get("HX-Request") == "true"
    is_html = response.mimetype == "text/html" and response.status_code == 200
    return is_html and is_navigation and not is_part and not response.is_streamed


def _note(form: UnsentForm, filled: FilledPage | None) -> Markup:
    start = Markup('<div class="message" role="status" data-state="info"><p>')
    if filled is None:
        typed = [value for name in PROSE_FIELDS for value in form.fields.get(name, [])]
        words = Markup("Your form was not sent, and it is no longer on this page.")
        quoted = Markup(" You had typed: {}").format("; ".join(typed)) if typed else Markup("")
        return start + words + quoted + Markup("</p></div>")
    link = Markup(' <a href="#{}">Go to the form</a>').format(filled.place) if filled.place else Markup("")
    ticks = "" if form.has_ticks else " Select the items again: there were too many to keep."
    return start + f"Your form was not sent. What you had typed is in it again.{ticks}" + link + Markup("</p></div>")


def _read_cookie() -> UnsentForm | None:
    try:
        found: Any = _serializer().loads(request.cookies[cookie_name(COOKIE_NAME)], max_age=KEPT_S)
    except BadSignature:
        return None
    return UnsentForm.model_validate(found)


def _set_cookie(response: Response, text: str, max_age: int) -> None:
    secure = request.is_secure
    response.set_cookie(cookie_name(COOKIE_NAME), text, max_age=max_age, secure=secure, httponly=True, samesite="Lax")


def _serializer() -> URLSafeTimedSerializer:
    return serializer(_SALT)
