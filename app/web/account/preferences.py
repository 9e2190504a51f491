"""How a person likes pages to look: kept in a cookie, so that the first byte of every page already knows."""

from flask import Response, redirect, request

from app.web.account import bp
from app.web.auth import require

COOKIE = "beacon_theme"
THEMES = ("system", "light", "dark")
YEAR_S = 31_536_000


@bp.app_context_processor
def appearance() -> dict[str, object]:
    """`theme` for every page, the login page and problems included; the system's where nothing else was chosen."""
    chosen = request.cookies.get(COOKIE)
    return {"theme": chosen if chosen in THEMES else "system", "themes": THEMES}


@bp.post("/theme")
@require("viewer")
def choose() -> Response:
    response = redirect(_back(request.form.get("next", "")), 303)
    theme = request.form.get("theme", "")
    if theme in THEMES[1:]:
        response.set_cookie(COOKIE, theme, YEAR_S, secure=request.is_secure, httponly=True, samesite="Lax")
    else:
        response.delete_cookie(COOKIE)
    return response  # type: ignore[return-value]  # werkzeug's redirect is Flask's response


def _back(target: str) -> str:
    """A path of this site and nothing else (`//host` and `/\\host` leave it)."""
    local = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if local and target.isprintable() else "/"
