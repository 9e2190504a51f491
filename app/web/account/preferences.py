"""The theme that a user chose, stored in a cookie, so that the first byte of every page has it."""

from flask import Response, redirect, request

from app.web.account import bp
from app.web.auth import require
from app.web.page_address import local_path

THEME_COOKIE = "beacon_theme"
THEMES = ("system", "light", "dark")
COOKIE_MAX_AGE_S = 31_536_000


@bp.app_context_processor
def theme_context() -> dict[str, object]:
    """Add `theme` to every page, including the login page and error pages; `system` by default."""
    chosen = request.cookies.get(THEME_COOKIE)
    return {"theme": chosen if chosen in THEMES else "system", "themes": THEMES}


@bp.post("/theme")
@require("viewer")
def choose_theme() -> Response:
    response = redirect(local_path(request.form.get("next", "")), 303)
    theme = request.form.get("theme", "")
    if theme in THEMES[1:]:
        response.set_cookie(
            THEME_COOKIE, theme, COOKIE_MAX_AGE_S, secure=request.is_secure, httponly=True, samesite="Lax"
        )
    else:
        response.delete_cookie(THEME_COOKIE)
    return response  # type: ignore[return-value]  # werkzeug's redirect is Flask's response
