"""The dashboard page, and its sparklines as a fragment."""

from flask import Response, redirect, request

from app.config import current_settings
from app.db import db
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.dashboard import bp, queries, sparklines
from app.web.dashboard.board import VIEWS, Board, View
from app.web.dashboard.board_query import GROUP_CHOICES, SORT_CHOICES, STATE_CHOICES, parse_board_query
from app.web.dashboard.change_query import parse_change_query
from app.web.dashboard.failing import find_hidden_rows, load_failing
from app.web.dashboard.summary_text import Summary
from app.web.dashboard.view_models import job_href
from app.web.layout import build_layout, poll_interval, render_page
from app.web.page_address import local_path

MAX_CHANGES_SHOWN = 50
VIEW_COOKIE = "beacon_view"
COOKIE_MAX_AGE_S = 31_536_000
BOARD_CHOICES = {"states": STATE_CHOICES, "sorts": SORT_CHOICES, "groups": GROUP_CHOICES, "views": list(VIEWS)}

bp.add_app_template_global(job_href)


@bp.app_context_processor
def add_to_templates() -> dict[str, str]:
    """The bar shows the environment's name on every page, also on the login page and error pages."""
    return {"environment_name": current_settings().environment_name}


@bp.get("/")
@require("viewer")
def index() -> Response:
    who = actor()
    cursor = queries.cursor(db.session())
    tiles = queries.load_tiles(db.session(), poll_interval())
    failing = load_failing(db.session(), tiles)
    board_query = parse_board_query(request.args)
    query = parse_change_query(request.args, board_query.params)
    changes = queries.search_changes(db.session(), who.viewer, query, MAX_CHANGES_SHOWN, registry.service_name)
    return render_page(
        "dashboard/index.html",
        cursor,
        layout=build_layout("dashboard", who, cursor),
        tiles=tiles,
        board=Board.arrange(tiles, sparklines.load_trends(db.session()), board_query, _chosen_view(), failing),
        choices=BOARD_CHOICES,
        asks_controls="arrange" in request.args,
        failing=failing,
        hidden_rows=find_hidden_rows(tiles, list(failing.values())),
        changes=changes,
        query=query,
        summary=Summary.from_tiles(tiles),
    )


@bp.get("/trends")
@require("viewer")
def show_trends() -> Response:
    """Only the sparklines. Open pages load them once a minute, because no event marks the end of a minute."""
    tiles = queries.load_tiles(db.session(), poll_interval())
    query = parse_board_query(request.args)
    failing = load_failing(db.session(), tiles) if query.state else {}
    board = Board.arrange(tiles, sparklines.load_trends(db.session()), query, _chosen_view(), failing)
    return render_page("dashboard/trends.html", queries.cursor(db.session()), board=board)


@bp.post("/view")
@require("viewer")
def choose_view() -> Response:
    """Services as tiles or as a table, kept in a cookie, so that the first byte of the page has it."""
    response = redirect(local_path(request.form.get("next", "")), 303)
    view = request.form.get("view", "")
    if view in VIEWS and view != "auto":
        response.set_cookie(
            VIEW_COOKIE, view, COOKIE_MAX_AGE_S, secure=request.is_secure, httponly=True, samesite="Lax"
        )
    else:
        response.delete_cookie(VIEW_COOKIE)
    return response  # type: ignore[return-value]  # werkzeug's redirect is Flask's response


def _chosen_view() -> View:
    return VIEWS.get(request.cookies.get(VIEW_COOKIE, ""), "auto")
