"""`/discrepancies`: the history of discrepancies, open ones first; all of them as CSV or NDJSON."""

from typing import cast

from flask import Flask, Response, current_app, request

from app.db import db
from app.infra.concurrency import iterate_in_slices, yield_to_loop
from app.infra.problems import Problem
from app.reconciliation import incidents, registry
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.discrepancies import bp, incident_export, incident_reader
from app.web.discrepancies.incident_query import (
    FIRST_PAGE,
    KINDS,
    SHOW_CHOICES,
    STATUSES,
    IncidentQuery,
    parse_incident_query,
)
from app.web.layout import build_layout, render_page
from app.web.listing import parse_export_format


@bp.get("/discrepancies")
@require("viewer", scope="read")
def index() -> Response:
    """A page for people; an export of all matches with `format=csv` or `ndjson`, and as NDJSON for programs."""
    query = parse_incident_query(request.args)
    form = parse_export_format(for_programs="ndjson")
    if form is None:
        return _show_page(query)
    if query.errors:
        raise Problem(400, "Bad input", " ".join(query.errors))
    names = {service.id: service.name for service in registry.list_services(db.session())}
    db.session.remove()  # a slow reader must not hold one of the few connections
    app = cast(Flask, current_app._get_current_object())  # type: ignore[attr-defined]
    return incident_export.build_response(app, query, form, lambda service: names.get(service, service))


def _show_page(query: IncidentQuery) -> Response:
    who, session = actor(), db.session()
    cursor = queries.cursor(session)
    found = incident_reader.load_page(session, query, registry.service_name)
    yield_to_loop()
    return render_page(
        "discrepancies/index.html",
        cursor,
        layout=build_layout("discrepancies", who, cursor),
        found=found,
        paced=iterate_in_slices,  # rendering fifty rows takes longer than one time slice of the loop
        newest_id=incidents.read_newest_row_id(session),
        query=query,
        is_first=query.page_start == FIRST_PAGE,
        older=query.url(found.older) if found.older else None,
        service_choices=[(service.id, service.name) for service in registry.list_services(session)],
        statuses=STATUSES,
        kinds=KINDS,
        show_choices=SHOW_CHOICES,
    )
