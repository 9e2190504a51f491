"""`/search` and `/api/search`: one text, looked for everywhere. The address is the search."""

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from app.db import db
from app.infra.problems import Problem
from app.reconciliation import registry
from app.search.finder import SearchReport, search_everything
from app.search.search_terms import SearchTerms
from app.sources.protocol import MAX_JOB_ID_CHARS
from app.web.auth import actor, require
from app.web.dashboard import queries as dashboard
from app.web.layout import build_layout, render_page
from app.web.listing import wants_data
from app.web.search import bp
from app.web.search.hit_views import build_sections

# The longest text that can be the id of a job.
MAX_QUERY_CHARS = MAX_JOB_ID_CHARS


@bp.get("/api/search")
@require("viewer", scope="read")
def search_json() -> ResponseReturnValue:
    """`{data: [{kind, id, service, title, state, at, href, …}], meta}`; the best kinds first."""
    terms = _parse_terms()
    if not terms.words or len(terms.text) > MAX_QUERY_CHARS:
        expected = f"expected 1 to {MAX_QUERY_CHARS:,} characters to search for"
        raise Problem(400, "Bad input", f"q: {expected}", errors={"q": expected})
    report = _search(terms)
    sections = build_sections(report.hits, terms.text)
    meta = {
        "complete": report.is_complete,
        "searchedSince": report.since,
        "notAnswered": list(report.not_answered),
        "notSearched": list(report.unfinished),
        "more": [section.kind for section in sections if section.has_more],
    }
    return jsonify(data=[view.to_json() for section in sections for view in section.hits], meta=meta)


@bp.get("/search")
@require("viewer", scope="read")
def index() -> ResponseReturnValue:
    if wants_data():
        return search_json()
    who, cursor, terms = actor(), dashboard.cursor(db.session()), _parse_terms()
    is_too_long = len(terms.text) > MAX_QUERY_CHARS
    if is_too_long:
        terms = SearchTerms.parse(terms.text[:MAX_QUERY_CHARS])
    report = None if is_too_long or not terms.words else _search(terms)
    return render_page(
        "search/index.html",
        cursor,
        400 if is_too_long else 200,
        layout=build_layout("search", who, cursor),
        query=terms.text,
        limit=MAX_QUERY_CHARS,
        is_too_long=is_too_long,
        report=report,
        sections=build_sections(report.hits, terms.text) if report else [],
        not_answered=[registry.service_name(one) for one in report.not_answered] if report else [],
        finds_people=who.is_administrator,
    )


def _parse_terms() -> SearchTerms:
    return SearchTerms.parse(request.args.get("q", ""))


def _search(terms: SearchTerms) -> SearchReport:
    return search_everything(terms, with_people=actor().is_administrator)
