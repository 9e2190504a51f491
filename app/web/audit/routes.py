"""`/reconciliation/audit` for programs, and what the page of the audit asks for: exports, the head, the Verify button.

Everybody who may log in may read all of it: what Beacon is trusted with is done in the open, secrets never enter, and
an entry can be sealed again only by who sees all of its columns.
"""

import json
import threading
from collections.abc import Iterator
from typing import Any, cast, get_args

from flask import Flask, Response, current_app, jsonify, request, stream_with_context
from flask.typing import ResponseReturnValue
from pydantic import ValidationError

from app.audit import chain, export, reader_pool, search
from app.audit.count_cache import Totals
from app.audit.query_params import AuditQuery
from app.audit.verify import outside, steps
from app.db import db, read
from app.infra import streaming_export
from app.infra.clock import utc_text
from app.infra.problems import Problem, build_retry_after, invalid_input
from app.web.audit import bp
from app.web.auth import require

# One reading of the whole chain at a time in a worker.
_verifying = threading.Lock()


def totals() -> Totals:
    found: Totals = current_app.extensions["beacon_audit_totals"]
    return found


@bp.get("/reconciliation/audit")
@require("viewer", scope="read")
def entries() -> ResponseReturnValue:
    """A page of it; with `format=csv` or `ndjson`, all that fits."""
    asked = _asked()
    form = request.args.get("format")
    if form:
        return exported(asked, form)
    db.session.remove()
    counts = totals()
    found = reader_pool.look(lambda fetch: search.page(fetch, asked, counts))
    meta = {
        "page": asked.page,
        "limit": asked.limit,
        "total": found.total,
        "totalPages": -(-found.total // asked.limit),
        **({"totalIsMinimum": True} if found.total_is_minimum else {}),
        "next": found.next.text() if found.next else None,
        "previous": found.previous.text() if found.previous else None,
        "head": {"seq": found.head[0], "hash": found.head[1]},
    }
    return Response(reader_pool.beside(_page, found.rows, meta), mimetype="application/json")


@bp.get("/audit/head")
@require("viewer", scope="read")
def head() -> Response:
    """For pages that wait for news: the seq of the newest entry."""
    with read() as session:
        return jsonify(seq=chain.head(session).seq)


@bp.post("/audit/verify")
@require("viewer", scope="read")
def verify() -> Response:
    """Lines of text while the chain is read: how far it is, and in the end what was found."""
    if not _verifying.acquire(blocking=False):
        detail = "Somebody has the chain verified just now. Try again when that is over."
        raise Problem(409, "Already verifying", detail, headers=build_retry_after(3, 10))
    try:
        db.session.remove()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = Response(stream_with_context(_lines()), content_type="text/plain; charset=utf-8", headers=headers)
        response.call_on_close(_verifying.release)
    except BaseException:
        _verifying.release()  # nobody else will
        raise
    return response


def exported(asked: AuditQuery, form: str) -> Response:
    if form not in get_args(streaming_export.ExportFormat):
        raise Problem(400, "Bad input", "format: expected csv or ndjson", errors={"format": "expected csv or ndjson"})
    db.session.remove()  # a reader may be slow, and connections are few
    app = cast(Flask, current_app._get_current_object())  # type: ignore[attr-defined]
    return export.answer(app, asked, cast(streaming_export.ExportFormat, form))


def _lines() -> Iterator[str]:
    against = outside()
    reading = steps(*([against.expected] if against.expected else []))
    while True:
        try:
            done, whole = next(reading)
        except StopIteration as end:
            found = end.value
            break
        yield f"{done} of {whole}\n"
    when = utc_text()
    if found.broken:
        yield f"broken: {found.broken}; {found.count} entries before it hold; {when}\n"
    elif untold := found.untold or against.trouble:
        yield f"cannot tell: {untold}; {found.count} entries hold by themselves; {when}\n"
    else:
        yield f"compared: {against.words}\n"
        yield f"ok: {found.count} entries, head {found.head}, seq {found.seq}; {when}\n"


def _page(rows: list[dict[str, Any]], meta: dict[str, Any]) -> str:
    return json.dumps({"data": export.as_entries(rows), "meta": meta}, separators=(",", ":")) + "\n"


def _asked() -> AuditQuery:
    given = {name: value for name, value in request.args.items() if value}
    try:
        return AuditQuery.model_validate(given)
    except ValidationError as error:
        raise invalid_input(error) from error
