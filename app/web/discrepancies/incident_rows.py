"""Builds a row of the discrepancies page: both sides, the jobs, and how it ended, as text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from app.reconciliation import finding_text
from app.reconciliation.incident_closure import ItemClosure
from app.reconciliation.incidents import Incident
from app.web import display_text
from app.web.dashboard.change_rows import ChangeRow, NameOf
from app.web.dashboard.view_models import IdList, service_href

_ENDING_TEXTS = {
    "verified": "verified again",
    "stale": "became stale",
    "discrepancy": "another discrepancy followed",
    "gone": "no longer watched",
    "closed": "accounted for",
}
_CLOSING_TEXTS = {
    "accepted": "accepted",
    "reappeared": "reappeared",
    "finished": "had finished",
    "requeued": "queued again",
    "expired": "expired after a day",
}
_OTHER_STATES = {"unaccounted": ("stale", "Unaccounted for")}


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One row of the page.

    `missing` holds all jobs that were missing at any time; `details` and `findings` are those of the update with the
    most of them; `reason` is the newest one. `all_ids` are all jobs that the row is about, `kind` is what is wrong with
    them.
    """

    episode: Incident
    name: str
    details: Mapping[str, Any]
    missing: Sequence[str]
    findings: Sequence[Mapping[str, Any]]
    reason: str | None

    @classmethod
    def from_episode(cls, episode: Incident, name_of: NameOf, current: Mapping[str, Any] | None = None) -> Self:
        """`current`: the service's current payload, if the episode has not ended."""
        details: list[Mapping[str, Any]] = [json.loads(text) for text in episode.details_json]
        largest = max(details, key=lambda one: len(one["missingJobIds"]), default={})
        missing = list(dict.fromkeys(job_id for one in details for job_id in one["missingJobIds"]))
        now = current or {}
        findings = _largest_findings([json.loads(text) for text in episode.findings_json]) or now.get("findings") or []
        reason = now.get("reason") if now.get("status") == episode.status else None
        return cls(episode, name_of(episode.service), largest, missing, findings, reason or episode.reason)

    @property
    def href(self) -> str:
        return service_href(self.episode.service)

    @property
    def is_open(self) -> bool:
        return self.episode.ending is None and self.episode.status != "verified"

    @property
    def state(self) -> str:
        return _OTHER_STATES.get(self.episode.status, (self.episode.status, ""))[0]

    @property
    def word(self) -> str:
        found = _OTHER_STATES.get(self.episode.status)
        return found[1] if found else display_text.STATE_WORDS[self.episode.status]

    @property
    def kind(self) -> str:
        if self.episode.status != "discrepancy":
            return self.episode.status
        return "missing" if self.missing else "extra" if self.episode.job_ids else "other"

    @property
    def all_ids(self) -> list[str]:
        return [*self.missing, *self.episode.job_ids]

    @property
    def ids(self) -> IdList:
        return IdList.truncate(self.all_ids, max(len(self.all_ids), self.episode.jobs))

    @property
    def words(self) -> str:
        status = self.episode.status
        if status == "unaccounted":
            return f"{finding_text.format_job_count(self.episode.jobs)} {finding_text.kind_label('unaccounted')}:"
        if status == "stale":
            return self.reason or "gave no usable answer"
        if status == "verified":
            return "agrees with what Beacon knows"
        others = [one for one in self.findings if one["kind"] not in ("missing", "extra", "unaccounted")]
        known = {"status": status, "reason": self.reason, "findings": others}
        found = finding_text.describe_problem(self.name, {**known, "discrepancyDetails": self.details or None})
        jobs = self._jobs_text()
        return (
            jobs
            if jobs and found == finding_text.UNSPECIFIC_DIFFERENCE
            else "; ".join(part for part in (found, jobs) if part)
        )

    def _jobs_text(self) -> str:
        """`3 missing:`, to be followed by their ids."""
        if self.missing:
            return f"{self._number_text()} missing:"
        return f"{self._number_text()} {finding_text.kind_label('extra')}:" if self.episode.job_ids else ""

    def _number_text(self) -> str:
        # An event names only some of the missing jobs; the gap between both sides gives their number.
        gap = int(self.details.get("expected", 0)) - int(self.details.get("actual", 0)) if self.missing else 0
        return f"{max(gap, len(self.missing) or self.episode.jobs):,}"

    @property
    def ending_text(self) -> str:
        """How it ended; empty while it is open."""
        if self.episode.ending is None:
            return ""
        how = self.episode.ending.status
        return "answered again" if self.episode.status == "stale" and how != "gone" else _ENDING_TEXTS.get(how, "")

    @property
    def closing_texts(self) -> list[str]:
        """`3 accepted by bob: deleted by hand`: one text for each way in which jobs were closed."""
        return [describe_closing(one) for one in self.episode.closings]

    def as_change(self) -> ChangeRow:
        """As a row that a search can be applied to."""
        ids = IdList(tuple(self.all_ids))
        words = " ".join([self.words, self.ending_text, *self.closing_texts])
        service = self.episode.service
        return ChangeRow(
            0, self.episode.at, self.state, self.word, self.name, self.href, words, ids, self.kind, service
        )

    def as_json(self) -> dict[str, Any]:
        one = self.episode
        ending = one.ending
        return {
            "id": one.id,
            "timestamp": one.at,
            "service": one.service,
            "status": one.status,
            "kind": self.kind,
            "expected": self.details.get("expected"),
            "actual": self.details.get("actual"),
            "reason": self.reason,
            "findings": self.findings,
            "jobIds": self.all_ids,
            "open": self.is_open,
            "endedAt": ending.at if ending else None,
            "endedHow": ending.status if ending else None,
            "closed": [
                {"kind": done.kind, "how": done.how, "number": done.number, "by": done.by, "reason": done.reason}
                for done in one.closings
            ],
        }


def _largest_findings(each: Sequence[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """For each kind the finding about the most jobs."""
    found: dict[str, Mapping[str, Any]] = {}
    for one in (finding for findings in each for finding in findings):
        before = found.get(one["kind"])
        if before is None or finding_text.count_jobs(one) > finding_text.count_jobs(before):
            found[one["kind"]] = one
    return list(found.values())


def describe_closing(done: ItemClosure) -> str:
    by = f" by {done.by}" if done.by else ""
    reason = f": {done.reason}" if done.reason else ""
    return f"{done.number:,} {_CLOSING_TEXTS.get(done.how, done.how)}{by}{reason}"
