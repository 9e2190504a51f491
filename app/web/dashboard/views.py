"""The dashboard page, and its sparklines as a fragment."""

from flask import Response, request

from app.config import current_settings
from app.db import db
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.dashboard import bp, queries, sparklines
from app.web.dashboard.change_query import parse_change_query
from app.web.dashboard.failing import find_hidden_rows, load_failing
from app.web.dashboard.summary_text import Summary
from app.web.dashboard.view_models import Board, job_href
from app.web.layout import build_layout, poll_interval, render_page

MAX_CHANGES_SHOWN = 50

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
    query = parse_change_query(request.args)
    changes = queries.search_changes(db.session(), who.viewer, query, MAX_CHANGES_SHOWN, registry.service_name)
    return render_page(
        "dashboard/index.html",
        cursor,
        layout=build_layout("dashboard", who, cursor),
        board=Board.from_tiles(tiles, sparklines.load_trends(db.session())),
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
    board = Board.from_tiles(tiles, sparklines.load_trends(db.session()))
    return render_page("dashboard/trends.html", queries.cursor(db.session()), board=board)
