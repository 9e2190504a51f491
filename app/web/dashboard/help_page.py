"""`/help`: every word and icon of the pages, the keys, and what the services of the demo show."""

from flask import Response

from app.config import current_settings
from app.db import db
from app.infra.demo_guide import read_guide
from app.reconciliation import registry
from app.web.auth import actor, require
from app.web.dashboard import bp, queries
from app.web.layout import build_layout, render_page


@bp.get("/help")
@require("viewer")
def show_help() -> Response:
    cursor = queries.cursor(db.session())
    watched = {service.id for service in registry.list_services(db.session())}
    guide = [service for service in read_guide(current_settings().instance_dir) if service.id in watched]
    return render_page("help/index.html", cursor, layout=build_layout("help", actor(), cursor), guide=guide)
