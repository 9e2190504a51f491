"""A hit of a search as page and API show it: title, state as icon and word, and the page that it leads to."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from app.commands.actions import ACTIONS
from app.failures.grouping import describe_cause
from app.reconciliation import registry
from app.search.search_hits import Hit, HitList, Kind
from app.web import display_text
from app.web.commands.command_views import PHASE_LABELS
from app.web.dashboard.view_models import service_href
from app.web.jobs.job_page import find_mark, shorten_id

MAX_DETAIL_CHARS = 300
# The order of the page. A job comes first if its whole id was typed.
KINDS: Mapping[Kind, tuple[str, str]] = {
    "service": ("service", "services"),
    "queue": ("queue", "queues"),
    "worker": ("worker", "workers"),
    "failure": ("cause of failures", "causes of failures"),
    "job": ("job", "jobs"),
    "command": ("command", "commands"),
    "person": ("person", "people"),
}
# Icon and word of the states that are Beacon's own.
_JOB_STATES = {
    "gone": ("stale", "No longer failed"),
    "past": ("stale", "No longer known"),
    "missing": ("discrepancy", "Missing"),
    "unaccounted": ("unknown", "Unaccounted"),
    "extra": ("discrepancy", "Extra"),
}
_QUEUE_STATES = {
    "no-worker": ("warning", "No worker"),
    "failed": ("error", "Jobs failed"),
    "busy": ("running", "In use"),
    "watched": ("stale", "Watched"),
}
_WORKER_STATES = {"failed": "error", "dead": "error", "silent": "stale", "busy": "running", "idle": "verified"}


@dataclass(frozen=True, slots=True)
class HitView:
    """`icon` is also the state that its colour follows from; `detail` is more about it, in one line."""

    hit: Hit
    title: str
    href: str
    icon: str
    label: str
    detail: str = ""

    @property
    def service_name(self) -> str:
        return registry.service_name(self.hit.service_id) if self.hit.service_id else ""

    def to_json(self) -> dict[str, Any]:
        hit = self.hit
        of_service = {"service": hit.service_id} if hit.service_id else {}
        return {
            "kind": hit.kind,
            "id": hit.id,
            **of_service,
            "title": self.title,
            "state": hit.state,
            "at": hit.at,
            "href": self.href,
            **hit.facts,
        }


@dataclass(frozen=True, slots=True)
class HitSection:
    kind: Kind
    hits: Sequence[HitView]
    has_more: bool

    @property
    def label(self) -> str:
        return KINDS[self.kind][1].capitalize()

    @property
    def number(self) -> str:
        """`1 job`, `20+ jobs`"""
        one, many = KINDS[self.kind]
        return f"1 {one}" if len(self.hits) == 1 else f"{len(self.hits)}{'+' if self.has_more else ''} {many}"


def build_sections(hits: HitList, text: str) -> list[HitSection]:
    kinds = sorted(KINDS, key=lambda kind: kind != "job") if hits.is_known_job(text) else KINDS
    sections = (HitSection(kind, _build_views(hits.of_kind(kind)), kind in hits.more) for kind in kinds)
    return [section for section in sections if section.hits]


def _build_views(hits: Sequence[Hit]) -> list[HitView]:
    return [_BUILDERS[hit.kind](hit) for hit in hits]


def _build_job(hit: Hit) -> HitView:
    function = hit.facts.get("function")
    icon, label = _JOB_STATES.get(hit.state) or (
        find_mark(hit.state),
        display_text.state_label(hit.state).capitalize() or "Unknown",
    )
    title = f"{function} {shorten_id(hit.id)}" if function else f"Job {hit.id}"
    queue = f"in queue {hit.facts['queue']}" if hit.facts.get("queue") else ""
    error = ": ".join(filter(None, (hit.facts.get("errorType"), hit.facts.get("message"))))
    detail = _cut(" · ".join(filter(None, (queue, error))))
    return HitView(hit, title, f"{service_href(hit.service_id)}/jobs/{_quote(hit.id)}", icon, label, detail)


def _build_cause(hit: Hit) -> HitView:
    number = hit.facts["count"]
    icon, label = ("error", f"{number:,} failed now") if number > 0 else ("stale", "None failed now")
    title = describe_cause(hit.facts["function"], hit.facts["errorType"])
    return HitView(hit, title, f"/failures/{_quote(hit.id)}", icon, label, _cut(hit.facts["message"] or ""))


def _build_service(hit: Hit) -> HitView:
    word = display_text.STATE_WORDS.get(hit.state, hit.state)
    return HitView(
        hit, hit.facts["name"], service_href(hit.service_id), hit.state, word, f"{hit.facts['type']} service"
    )


def _build_queue(hit: Hit) -> HitView:
    icon, label = _QUEUE_STATES[hit.state]
    state = "failed" if hit.state == "failed" else "queued"
    href = f"{service_href(hit.service_id)}/jobs?{urlencode({'state': state, 'queue': hit.id})}"
    return HitView(hit, hit.id, href, icon, label)


def _build_worker(hit: Hit) -> HitView:
    label = "Jobs failed" if hit.state == "failed" else hit.state.capitalize()
    href = f"{service_href(hit.service_id)}?workers=all#workers-title"
    return HitView(hit, hit.id, href, _WORKER_STATES.get(hit.state, "stale"), label)


def _build_command(hit: Hit) -> HitView:
    action = ACTIONS.get(hit.facts["action"])
    icon = "timeout" if hit.state == "unknown" else hit.state
    title = f"{action.label if action else hit.facts['action']} {hit.facts['target']}"
    detail = f"{hit.id} by {hit.facts['actor']}"
    return HitView(hit, title, f"/commands/{_quote(hit.id)}", icon, PHASE_LABELS.get(hit.state, hit.state), detail)


def _build_person(hit: Hit) -> HitView:
    """There is no page of a person; what somebody did is in the audit."""
    is_disabled = hit.state == "disabled"
    icon, label = ("offline", "Disabled") if is_disabled else ("verified", "Active")
    return HitView(hit, hit.id, f"/audit?{urlencode({'actor': hit.id})}", icon, label, hit.facts["role"])


_BUILDERS: Mapping[Kind, Callable[[Hit], HitView]] = {
    "job": _build_job,
    "failure": _build_cause,
    "service": _build_service,
    "queue": _build_queue,
    "worker": _build_worker,
    "command": _build_command,
    "person": _build_person,
}


def _quote(id_: str) -> str:
    return quote(id_, safe="", errors="replace")


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_DETAIL_CHARS else f"{line[: MAX_DETAIL_CHARS - 1]}…"
