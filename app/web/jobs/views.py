"""`/services/{id}/jobs`: lists the jobs in one state, as the service reports them, with command buttons."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import request
from flask.typing import ResponseReturnValue

from app.commands import live_preview
from app.commands.actions import ACTIONS
from app.commands.targets import MAX_ITEMS_PER_COMMAND
from app.config import current_settings
from app.db import db
from app.infra.clock import utc_text
from app.infra.problems import Problem
from app.reconciliation import open_item_queries
from app.sources.protocol import JobDetail, SourceError
from app.web import display_text
from app.web.auth import actor, require
from app.web.commands.command_views import CommandView, ServiceActions
from app.web.dashboard import queries
from app.web.dashboard.view_models import UNKNOWN_COUNT_STATES, service_href
from app.web.jobs import bp, routes
from app.web.jobs.job_report import ViewNotSupported, query_view
from app.web.layout import build_layout, render_page
from app.web.listing import build_url, wants_data

JOBS_PER_PAGE = 25
DEFAULT_STATE = "failed"


@dataclass(frozen=True, slots=True)
class StateTab:
    """A state with its number of jobs, or `why_not` if the number is unknown.

    `as_of`: the number's own time, if it is older than the check.
    """

    name: str
    label: str
    count: int | None
    why_not: str = ""
    as_of: str = ""


@dataclass(frozen=True, slots=True)
class JobRow:
    """`known` is what Beacon knows, `facts` what the service tells, if it does."""

    job_id: str
    known: str
    command: CommandView | None
    facts: JobDetail | None

    @property
    def at(self) -> str:
        """The newest time of the job."""
        times = (self.facts.ended_at, self.facts.started_at, self.facts.enqueued_at) if self.facts else ()
        return next((utc_text(moment) for moment in times if moment is not None), "")


@bp.get("/services/<service_id>/jobs")
@require("viewer", scope="read")
def index(service_id: str) -> ResponseReturnValue:
    """A page for people; for API clients the jobs that Beacon knows, by id."""
    if wants_data():
        return routes.list_known_jobs(service_id)
    who, session = actor(), db.session()
    cursor = queries.cursor(session)
    watched = queries.require_service(session, service_id)
    state, queue = request.args.get("state") or DEFAULT_STATE, request.args.get("queue", "").strip()
    page = min(max(request.args.get("page", 1, type=int), 1), MAX_ITEMS_PER_COMMAND // JOBS_PER_PAGE)
    context = {
        "layout": build_layout("service", who, cursor, has_form=True),
        "service_actions": ServiceActions.of(who, watched.service),
        "href": service_href(service_id),
        "states": _build_state_tabs(
            *watched.counts(current_settings().poll_interval_s), watched.not_told, watched.counts_as_of
        ),
        "queues": live_preview.list_queues(session, service_id),
    }
    found, why = _preview_page(service_id, state, queue, page)
    on_page = found.job_ids[(page - 1) * JOBS_PER_PAGE :]
    rows = _build_rows(service_id, on_page, _read_facts(service_id, on_page))
    reachable = min(found.total, MAX_ITEMS_PER_COMMAND)
    return render_page(
        "jobs/index.html",
        cursor,
        **context,
        state=state,
        label=display_text.state_label(state),
        queue=queue,
        found=found,
        why=why,
        rows=rows,
        page=page,
        job_actions=[one for one in ACTIONS.values() if one.scope == "job" and one.is_offered_in(state)],
        first=(page - 1) * JOBS_PER_PAGE + 1,
        newer=_page_url(service_id, state, queue, page - 1) if page > 1 else None,
        older=_page_url(service_id, state, queue, page + 1) if page * JOBS_PER_PAGE < reachable else None,
        address=lambda name: _page_url(service_id, name, queue, 1),
    )


def _build_state_tabs(
    counts: Mapping[str, int] | None, why_not: str, not_told: Mapping[str, str], as_of: Mapping[str, str]
) -> list[StateTab]:
    """A count is None if it is unknown: not yet, not at the moment, or for the reason in `not_told`."""
    if counts is None:
        return [StateTab(name, display_text.state_label(name), None, why_not) for name in UNKNOWN_COUNT_STATES]
    why = {DEFAULT_STATE: f"the service does not count {display_text.state_label(DEFAULT_STATE)} jobs", **not_told}
    names = [name for name, _ in display_text.sort_counts({**dict.fromkeys(why, 0), **counts})]
    return [
        StateTab(name, display_text.state_label(name), counts[name], as_of=as_of.get(name, ""))
        if name in counts
        else StateTab(name, display_text.state_label(name), None, why[name])
        for name in names
    ]


def _preview_page(service_id: str, state: str, queue: str, page: int) -> tuple[live_preview.JobPreview, str]:
    """The jobs that the service reports, or why it does not."""
    db.session.remove()  # a service may take its time
    try:
        return live_preview.preview_jobs(service_id, state[:100], queue[:200] or None, page * JOBS_PER_PAGE), ""
    except Problem as problem:
        return live_preview.JobPreview(0, "", ()), problem.detail


def _read_facts(service_id: str, job_ids: tuple[str, ...]) -> Mapping[str, JobDetail]:
    """What the service tells of these jobs; nothing if it does not answer, as the list itself is worth showing."""
    if not job_ids:
        return {}
    service = queries.require_service(db.session(), service_id).service
    try:
        return query_view(service, "detail", lambda source: source.read_facts(job_ids))
    except (ViewNotSupported, SourceError, Problem):
        return {}


def _build_rows(service_id: str, job_ids: tuple[str, ...], facts: Mapping[str, JobDetail]) -> list[JobRow]:
    session = db.session()
    known = open_item_queries.find_known_jobs(session, service_id, job_ids)
    open_commands = live_preview.find_open_commands(session, service_id, job_ids)
    return [
        JobRow(
            job_id,
            f"in queue {known[job_id].queue}" if job_id in known and known[job_id].queue else "",
            CommandView.of(open_commands[job_id]) if job_id in open_commands else None,
            facts.get(job_id),
        )
        for job_id in job_ids
    ]


def _page_url(service_id: str, state: str, queue: str, page: int) -> str:
    params = {"state": state, "queue": queue, "page": page if page > 1 else None}
    return build_url(f"{service_href(service_id)}/jobs", params)
