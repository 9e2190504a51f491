"""The pages that people look at."""

from flask import Response, request

from app.config import current_settings
from app.db import db
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.dashboard import bp, queries, sparklines
from app.web.dashboard.change_query import asked
from app.web.dashboard.summary_text import Summary
from app.web.dashboard.view_models import Board, beyond_strip
from app.web.layout import build_layout, poll_interval, render_page

CHANGES = 50


@bp.app_context_processor
def environment() -> dict[str, str]:
    """The bar names the environment on every page, the login page and problems included."""
    return {"environment_name": current_settings().environment_name}


@bp.get("/")
@require("viewer")
def index() -> Response:
    who = actor()
    cursor = queries.cursor(db.session())
    tiles = queries.tiles(db.session(), poll_interval())
    wanted = asked(request.args)
    found = queries.search(db.session(), who.viewer, wanted, CHANGES, registry.name_of)
    return render_page(
        "dashboard/index.html",
        cursor,
        layout=build_layout("dashboard", who, cursor),
        board=Board.of(tiles, sparklines.current(db.session())),
        beyond=beyond_strip(tiles),
        changes=found,
        asked=wanted,
        summary=Summary.of(tiles),
    )


@bp.get("/trends")
@require("viewer")
def trend_lines() -> Response:
    """The sparklines alone, which open pages ask for once a minute: no event tells of a minute that is over."""
    tiles = queries.tiles(db.session(), poll_interval())
    board = Board.of(tiles, sparklines.current(db.session()))
    return render_page("dashboard/trends.html", queries.cursor(db.session()), board=board)
