"""`/reconciliation/audit`, the API of the audit; also exports, the head and the Verify button of the audit page.

Every user may read the whole audit: actions in Beacon are meant to be visible, secrets are never written to it, and
checking the hash of an entry needs all of its columns.
"""

import json
import threading
from collections.abc import Iterator
from typing import Any, cast

from flask import Flask, Response, current_app, jsonify, stream_with_context
from flask.typing import ResponseReturnValue

from app.audit import chain, export, reader_pool, search
from app.audit.count_cache import CountCache
from app.audit.query_params import AuditQuery
from app.audit.verify import read_outside_head, verify_in_steps
from app.components import components
from app.db import db, read
from app.infra.clock import utc_text
from app.infra.problems import Problem, build_retry_after
from app.infra.streaming_export import ExportFormat
from app.web.audit import bp
from app.web.auth import require
from app.web.listing import parse_args, parse_export_format

# One verification at a time in a worker.
_verifying = threading.Lock()


def count_cache() -> CountCache:
    return components().count_cache


@bp.get("/reconciliation/audit")
@require("viewer", scope="read")
def entries() -> ResponseReturnValue:
    """Return a page of entries, or with `format=csv` or `ndjson` all matching entries."""
    query, form = parse_args(AuditQuery), parse_export_format()
    if form:
        return export_response(query, form)
    db.session.remove()
    counts = count_cache()
    found = reader_pool.run_read(lambda fetch: search.find_page(fetch, query, counts))
    meta = {
        **query.page_meta(found.total),
        **({"totalIsMinimum": True} if found.total_is_minimum else {}),
        "next": found.next.encode() if found.next else None,
        "previous": found.previous.encode() if found.previous else None,
        "head": {"seq": found.head[0], "hash": found.head[1]},
    }
    return Response(reader_pool.run_in_thread(_page_json, found.rows, meta), mimetype="application/json")


@bp.get("/audit/head")
@require("viewer", scope="read")
def head() -> Response:
    """Return the seq of the newest entry, for pages that poll for new ones."""
    with read() as session:
        return jsonify(seq=chain.read_head(session).seq)


@bp.post("/audit/verify")
@require("viewer", scope="read")
def verify() -> Response:
    """Verify the chain; stream lines of text with the progress and, at the end, the result."""
    if not _verifying.acquire(blocking=False):
        detail = "Another verification of the chain is running. Try again when it is finished."
        raise Problem(409, "Already verifying", detail, headers=build_retry_after(3, 10))
    try:
        db.session.remove()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        response = Response(
            stream_with_context(_verification_lines()), content_type="text/plain; charset=utf-8", headers=headers
        )
        response.call_on_close(_verifying.release)
    except BaseException:
        _verifying.release()  # the response, which would release it, does not exist
        raise
    return response


def export_response(query: AuditQuery, form: ExportFormat) -> Response:
    db.session.remove()  # do not hold a pooled connection while a slow client reads
    app = cast(Flask, current_app._get_current_object())  # type: ignore[attr-defined]
    return export.export_response(app, query, form)


def _verification_lines() -> Iterator[str]:
    against = read_outside_head()
    reading = verify_in_steps(*([against.expected] if against.expected else []))
    while True:
        try:
            done, whole = next(reading)
        except StopIteration as end:
            found = end.value
            break
        yield f"{done} of {whole}\n"
    when = utc_text()
    if found.broken:
        yield f"broken: {found.broken}; {found.count} entries before it are valid; {when}\n"
    elif inconclusive := found.inconclusive or against.error:
        yield f"cannot tell: {inconclusive}; {found.count} entries are valid; {when}\n"
    else:
        yield f"compared: {against.description}\n"
        yield f"ok: {found.count} entries, head {found.head}, seq {found.seq}; {when}\n"


def _page_json(rows: list[dict[str, Any]], meta: dict[str, Any]) -> str:
    return json.dumps({"data": export.rows_to_json(rows), "meta": meta}, separators=(",", ":")) + "\n"
