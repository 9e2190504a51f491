"""`/discrepancies`: what was wrong, open ones first, as its address asks for it; CSV and NDJSON of all of it."""

from typing import Literal, cast, get_args

from flask import Flask, Response, current_app, request

from app.db import db
from app.infra.concurrency import iterate_in_slices, yield_to_loop
from app.infra.problems import Problem
from app.reconciliation import incidents, registry
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.discrepancies import bp, incident_export, incident_reader
from app.web.discrepancies.incident_query import FIRST, KINDS, SHOWN, STATUSES, Asked, asked
from app.web.errors import wants_page
from app.web.layout import frame, rendered


@bp.get("/discrepancies")
@require("viewer", scope="read")
def index() -> Response:
    """A page for people; `format=csv` or `ndjson`, and for programs without a format NDJSON, is all that fits."""
    wanted, form = asked(request.args), _format()
    if form is None:
        return _page(wanted)
    if wanted.errors:
        raise Problem(400, "Bad input", " ".join(wanted.errors))
    names = {service.id: service.name for service in registry.watched(db.session())}
    db.session.remove()  # a reader may be slow, and connections are few
    app = cast(Flask, current_app._get_current_object())  # type: ignore[attr-defined]
    return incident_export.answer(app, wanted, form, lambda service: names.get(service, service))


def _format() -> Literal["csv", "ndjson"] | None:
    given = request.args.get("format")
    if given in get_args(incident_export.Format):
        return cast(incident_export.Format, given)
    if given:
        raise Problem(400, "Bad input", "format: expected csv or ndjson", errors={"format": "expected csv or ndjson"})
    # A token gets no page: there is more on it than the record.
    return "ndjson" if actor().scopes is not None or not wants_page() else None


def _page(wanted: Asked) -> Response:
    who, session = actor(), db.session()
    cursor = queries.cursor(session)
    found = incident_reader.page(session, wanted, registry.name_of)
    yield_to_loop()
    return rendered(
        "discrepancies/index.html",
        cursor,
        frame=frame("discrepancies", who, cursor),
        found=found,
        paced=iterate_in_slices,  # fifty rows are more than a slice of the loop
        head_of_record=incidents.head(session),
        asked=wanted,
        is_first=wanted.place == FIRST,
        older=wanted.address(found.older) if found.older else None,
        named=[(service.id, service.name) for service in registry.watched(session)],
        statuses=STATUSES,
        kinds=KINDS,
        shown=SHOWN,
    )
