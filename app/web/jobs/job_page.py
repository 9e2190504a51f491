"""The page of one job: what happened to it, why it failed, and why Beacon believes what it believes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from flask import Response, request

from app.commands.actions import ACTIONS, Action
from app.db import db
from app.failures.grouping import describe_cause
from app.infra.clock import utc_text
from app.sources.protocol import FAILED_STATES, JobDetail
from app.web import display_text
from app.web.auth import actor
from app.web.commands.command_views import ServiceActions
from app.web.dashboard import queries
from app.web.dashboard.view_models import service_href
from app.web.jobs.job_report import JobReport, read_report
from app.web.jobs.traceback_blocks import fold_traceback
from app.web.layout import build_layout, render_page

SHORT_ID_CHARS = 8
NOT_TOLD = "The service does not tell it"
_ENDED_WELL = frozenset({"succeeded", "success", "finished", "completed", "complete", "done"})
_RUNNING = frozenset({"running", "started"})
# What a job in this state cannot have, whatever its service tells.
_STILL_TO_COME = {"queued": ("startedAt", "endedAt", "waitS", "runS", "worker"), "running": ("endedAt", "runS")}
_ICONS = {"missing": "discrepancy", "unaccounted": "unknown", "extra": "discrepancy"}


@dataclass(frozen=True, slots=True)
class Fact:
    """`at` is a time in UTC, shown instead of `value`. Without both, the page shows a dash and `why`."""

    label: str
    value: str = ""
    at: str = ""
    why: str = ""


def show_job(service_id: str, job_id: str) -> Response:
    who, cursor = actor(), queries.cursor(db.session())
    report = read_report(service_id, job_id, is_patient="ask" in request.args)
    shown = report.shown
    state = _find_state(report)
    return render_page(
        "jobs/job.html",
        cursor,
        layout=build_layout("service", who, cursor, has_form=True),
        report=report,
        said=report.said,
        shown=shown,
        cause_title=describe_cause(report.cause.function, report.cause.error_type) if report.cause else "",
        title=_build_title(report),
        state=state,
        mark=find_mark(state),
        state_label=display_text.state_label(state).capitalize() if state else "Unknown",
        belief=report.belief,
        belief_icon=_ICONS.get(report.belief.verdict, ""),
        facts=_list_facts(shown, find_mark(shown.job.state)) if shown else [],
        blocks=fold_traceback(report.said.traceback) if report.said and report.said.traceback else [],
        timeline=report.timeline,
        service_actions=ServiceActions.of(who, report.service),
        job_actions=_list_actions(state),
        href=service_href(service_id),
    )


def _build_title(report: JobReport) -> str:
    """The function and the short id, or the id alone."""
    function = report.shown.function if report.shown else None
    return f"{function} {shorten_id(report.job_id)}" if function else f"Job {report.job_id}"


def shorten_id(job_id: str) -> str:
    return job_id if len(job_id) <= SHORT_ID_CHARS else f"{job_id[:SHORT_ID_CHARS]}…"


def _find_state(report: JobReport) -> str:
    """The state that the service tells now, or else the last one that Beacon knows; empty without either."""
    if report.said is not None:
        return report.said.job.state
    if report.failed is not None:
        return "failed"
    if report.known is not None:
        return report.known.state
    return report.open_items[0].last_state if report.open_items else ""


def find_mark(state: str) -> str:
    """The icon and colour of a state."""
    word = state.lower()
    if not word:
        return "unknown"
    if word in FAILED_STATES:
        return "error"
    if word in _ENDED_WELL:
        return "success"
    return "running" if word in _RUNNING else "queued"


def _list_actions(state: str) -> list[Action]:
    return [action for action in ACTIONS.values() if action.scope == "job" and action.is_offered_in(state)]


def _list_facts(said: JobDetail, mark: str) -> list[Fact]:
    attempt = "" if said.job.attempt is None else str(said.job.attempt)
    if attempt and said.max_attempts:
        attempt = f"{attempt} of {said.max_attempts}"
    found = {
        "function": Fact("Function", said.function or ""),
        "queue": Fact("Queue", said.job.queue or ""),
        "attempt": Fact("Attempt", attempt),
        "enqueuedAt": Fact("Queued", at=_text(said.enqueued_at)),
        "startedAt": Fact("Started", at=_text(said.started_at)),
        "endedAt": Fact("Ended", at=_text(said.ended_at)),
        "waitS": Fact("Waited", _duration(said.enqueued_at, said.started_at)),
        "runS": Fact("Ran for", _duration(said.started_at, said.ended_at)),
        "worker": Fact("Worker", said.worker or ""),
    }
    if said.scheduled_for is not None:
        found["scheduledFor"] = Fact("Planned for", at=_text(said.scheduled_for))
    if said.arguments is not None:
        found["arguments"] = Fact("Arguments", said.arguments or "none")
    yet_to_come = dict.fromkeys(_STILL_TO_COME.get(mark, ()), "not yet")
    return [_explain_gap(name, fact, {**said.not_told, **yet_to_come}) for name, fact in found.items()]


def _explain_gap(name: str, fact: Fact, not_told: Mapping[str, str]) -> Fact:
    if fact.value or fact.at:
        return fact
    return Fact(fact.label, why=not_told.get(name, NOT_TOLD))


def _text(moment: datetime | None) -> str:
    return utc_text(moment) if moment else ""


def _duration(began: datetime | None, ended: datetime | None) -> str:
    if began is None or ended is None or ended < began:
        return ""
    return display_text.format_duration((ended - began).total_seconds())
