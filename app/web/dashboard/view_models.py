"""View models of tiles and changes: frozen values made from payloads, the same for first render, push and poll.

They do not depend on the viewer: a pushed fragment is rendered once for everyone who may see its event.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self
from urllib.parse import quote
from zlib import crc32

from app.infra.clock import parse_utc
from app.reconciliation import finding_text
from app.web import display_text

MAX_STATS = 4
MAX_IDS = 5
# If the counts are older than this, the page shows their own time. An answer alone takes less.
MAX_COUNTS_LAG = timedelta(seconds=2)
UNKNOWN_COUNT_STATES = ("queued", "running", "failed")  # the states shown for a service whose counts are unknown
UNKNOWN = "—"

_SAFE_IN_SELECTOR = re.compile(r"[A-Za-z0-9_-]+")


def dom_key(service_id: str) -> str:
    """The service's part of an element id. Ids that are not safe in a CSS selector are written in hex: a service row
    inserted by hand may have any id, and one bad selector would end the page's subscription."""
    if _SAFE_IN_SELECTOR.fullmatch(service_id):
        return service_id
    return "x-" + service_id.encode("utf-8", "surrogatepass").hex()


def service_href(service_id: str) -> str:
    return f"/services/{quote(service_id, safe='', errors='replace')}"


def job_href(service: str, job_id: str) -> str:
    """The page of a job; `service` is the path of its service's page."""
    return f"{service}/jobs/{quote(job_id, safe='', errors='replace')}"


@dataclass(frozen=True, slots=True)
class Stat:
    """A number with its label.

    `value` is text, because an unknown number is `—` and a disagreeing pair shows both sides. `exact` is shown on hover
    if `value` is rounded, older than the check, or unknown for a reason.
    """

    state: str
    value: str
    label: str
    exact: str = ""


@dataclass(frozen=True, slots=True)
class IdList:
    """The job ids to show, and how many `more` there are."""

    shown: tuple[str, ...] = ()
    more: int = 0

    @classmethod
    def truncate(cls, ids: Sequence[str], total: int = 0) -> Self:
        """The first `MAX_IDS` of `ids`. `total` is their number, if `ids` does not hold all of them."""
        shown = tuple(ids[:MAX_IDS])
        return cls(shown, max(len(ids), total) - len(shown))

    @property
    def total(self) -> int:
        return len(self.shown) + self.more


NO_IDS = IdList()


@dataclass(frozen=True, slots=True)
class LatestCheck:
    """The newest check of a service, which `reconciliation.verified` updates.

    `as_of`: the time of its counts, as the service states it.
    """

    key: str
    at: str
    latency_ms: int
    as_of: str | None = None

    @property
    def is_lagging(self) -> bool:
        """True if the counts were so old that the page must show their own time."""
        return self.as_of is not None and parse_utc(self.at) - parse_utc(self.as_of) > MAX_COUNTS_LAG


@dataclass(frozen=True, slots=True)
class PastDiscrepancy:
    at: str
    missing: IdList
    closed_at: str | None


@dataclass(frozen=True, slots=True)
class CheckLimit:
    """What a check could not cover, whatever it found in the rest; `title` is shown on hover."""

    words: str
    title: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One service on the dashboard.

    `state` is the last published state, `status` the current one: they differ if `is_aged`, when no check was made for
    too long. `last_problem`: what was wrong in the last answer, for a service that does not answer. `figures_at`: the
    time of the answer's figures, for a service that is stale because they are of another time.

    `findings_digest` changes with the state and the findings, so that other parts of a page know when to reload.
    `counts_only`: states of which only the number is known. `unreadable`: entries that cannot be read. `unserved`: jobs
    that wait in queues without a worker. `lost`: how many jobs were lost at once. `kind`: of its source; a pushed tile
    does not know it. `counts`: None if they are unknown.
    """

    service_id: str
    key: str
    name: str
    state: str
    stats: tuple[Stat, ...]
    check: LatestCheck | None = None
    verified_at: str | None = None
    last_discrepancy: PastDiscrepancy | None = None
    reason: str | None = None
    words: str = ""
    missing: IdList = NO_IDS
    findings_digest: str = ""
    is_aged: bool = False
    counts_only: CheckLimit | None = None
    unreadable: CheckLimit | None = None
    unserved: CheckLimit | None = None
    lost: str = ""
    silent_since: str | None = None
    last_problem: str = ""
    figures_at: str | None = None
    kind: str = ""
    counts: Mapping[str, int] | None = None

    @property
    def href(self) -> str:
        return service_href(self.service_id)

    @property
    def sort_key(self) -> str:
        return self.name.casefold()

    @property
    def status(self) -> str:
        return "stale" if self.is_aged else self.state

    @property
    def is_wrong(self) -> bool:
        return self.status in ("discrepancy", "stale")

    @property
    def shown_in_full(self) -> bool:
        """True if it stays a tile when verified services are shown as rows."""
        return self.status != "verified" or self.is_limited

    @property
    def is_limited(self) -> bool:
        """True if the newest check could not cover everything: that must not hide in a row."""
        return any((self.counts_only, self.unreadable, self.unserved))

    @property
    def word(self) -> str:
        return display_text.STATE_WORDS[self.state]

    @classmethod
    def not_checked(cls, service_id: str, name: str, reason: str | None = None, *, kind: str = "") -> Self:
        """A registered service that has not been checked yet; `reason` if its first check is overdue."""
        state = "stale" if reason else "unknown"
        words = reason or ""
        return cls(
            service_id, dom_key(service_id), name, state, _unknown_stats(), reason=reason, words=words, kind=kind
        )

    @classmethod
    def from_payload(
        cls,
        service_id: str,
        name: str,
        payload: Mapping[str, Any],
        *,
        check: LatestCheck | None = None,
        is_aged: bool = False,
        kind: str = "",
    ) -> Self:
        """A tile from a `reconciliation.update`. `check` is a later check that changed nothing."""
        key = dom_key(service_id)
        newest = check or LatestCheck(key, payload["checkedAt"], payload["latencyMs"], payload.get("asOf"))
        findings, last = payload.get("findings") or [], payload.get("lastDiscrepancy")
        return cls(
            service_id,
            key,
            name,
            payload["status"],
            _build_stats(payload),
            newest,
            payload.get("lastVerifiedAt"),
            last and PastDiscrepancy(last["at"], IdList.truncate(last["missingJobIds"]), last.get("closedAt")),
            payload.get("reason"),
            finding_text.describe_problem(name, payload),
            _missing_ids(payload),
            _findings_digest(payload),
            is_aged,
            _counts_only_limit(payload),
            _unreadable_limit(payload),
            _unserved_limit(payload),
            finding_text.list_findings([one for one in findings if one["kind"] == "lost"]),
            None if finding_text.is_flapping(payload) else payload.get("silentSince"),
            finding_text.describe_earlier_findings(findings),
            payload.get("asOf") if payload["status"] == "stale" else None,
            kind,
            None if is_aged or payload["status"] == "stale" else payload["counts"],
        )


def _find(payload: Mapping[str, Any], kind: str) -> Any:
    """The finding of this kind, or None."""
    return next((one for one in payload.get("findings") or () if one["kind"] == kind), None)


def _counts_only_limit(payload: Mapping[str, Any]) -> CheckLimit | None:
    states = ", ".join(display_text.state_label(state) for state in payload.get("countsOnly") or ())
    if not states:
        return None
    queues = payload.get("countsOnlyQueues")
    where = f" in {', '.join(queues)}" if queues else ""
    return CheckLimit(f"counts only: {states}", f"More jobs{where} than are listed one by one")


def _unreadable_limit(payload: Mapping[str, Any]) -> CheckLimit | None:
    found = _find(payload, "unreadable")
    return found and CheckLimit(f"{finding_text.count_jobs(found):,} unreadable", found.get("note") or "")


def _unserved_limit(payload: Mapping[str, Any]) -> CheckLimit | None:
    found = _find(payload, "no-worker")
    return found and CheckLimit(
        f"{finding_text.format_job_count(finding_text.count_jobs(found))} without a worker",
        finding_text.describe_unserved_in_full([found]),
    )


def _build_stats(payload: Mapping[str, Any]) -> tuple[Stat, ...]:
    if payload["status"] == "stale":
        return _unknown_stats()
    details = payload.get("discrepancyDetails")
    has_gap = details is not None and details["expected"] != details["actual"]
    max_counts = MAX_STATS - 1 if has_gap else MAX_STATS
    unknown_reasons, as_of = payload.get("notTold") or {}, payload.get("countsAsOf") or {}
    counts = display_text.sort_counts({**dict.fromkeys(unknown_reasons, 0), **payload["counts"]})[:max_counts]
    stats = [
        Stat(state, UNKNOWN, display_text.state_label(state), unknown_reasons[state])
        if state in unknown_reasons
        else _count_stat(state, number, as_of.get(state))
        for state, number in counts
    ]
    if details is not None and has_gap:
        pair = f"{details['expected']:,} ≠ {details['actual']:,}"
        stats.append(Stat("pair", pair, "known ≠ reported"))
    return tuple(stats)


def _count_stat(state: str, number: int, as_of: str | None) -> Stat:
    value = display_text.abbreviate_number(number)
    exact = f"{number:,}"
    if as_of:
        return Stat(state, value, display_text.state_label(state), f"{exact} as of {parse_utc(as_of):%H:%M:%S} UTC")
    return Stat(state, value, display_text.state_label(state), "" if exact == value else exact)


def _unknown_stats() -> tuple[Stat, ...]:
    return tuple(Stat(state, UNKNOWN, display_text.state_label(state)) for state in UNKNOWN_COUNT_STATES)


def _missing_ids(payload: Mapping[str, Any]) -> IdList:
    """The missing jobs; a service that does not answer has them only in its findings."""
    details, found = payload.get("discrepancyDetails"), _find(payload, "missing")
    if details is not None:
        return IdList.truncate(details["missingJobIds"])
    return IdList.truncate(found["jobIds"], finding_text.count_jobs(found)) if found else NO_IDS


def _findings_digest(payload: Mapping[str, Any]) -> str:
    parts = [payload.get(name) for name in ("status", "reason", "discrepancyDetails", "findings")]
    return f"{crc32(json.dumps(parts).encode()):08x}"
