"""A row of the record of discrepancies, in words: both sides, the jobs, and how it ended."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.dashboard import wording
from app.dashboard.changes import ChangeRow, NameOf
from app.dashboard.contexts import Ids, service_href
from app.reconciliation import sentences
from app.reconciliation.endings import Closing
from app.reconciliation.episodes import Episode

_ENDED = {
    "verified": "verified again",
    "stale": "became stale",
    "discrepancy": "another discrepancy followed",
    "gone": "no longer watched",
    "closed": "accounted for",
}
_HOW = {
    "accepted": "accepted",
    "reappeared": "reappeared",
    "finished": "had finished",
    "requeued": "queued again",
    "expired": "expired after a day",
}
_STATES = {"unaccounted": ("stale", "Unaccounted for")}


@dataclass(frozen=True, slots=True)
class RecordRow:
    """`ids` are all of the jobs that it is about, `kind` what is wrong with them. `current` is what is believed of the
    service now, where this still holds: the record itself keeps neither reasons nor findings without jobs."""

    episode: Episode
    name: str
    details: Mapping[str, Any]
    current: Mapping[str, Any]

    @classmethod
    def of(cls, episode: Episode, name_of: NameOf, current: Mapping[str, Any] | None = None) -> Self:
        details = json.loads(episode.details_json) if episode.details_json else {}
        return cls(episode, name_of(episode.service), details, current or {})

    @property
    def href(self) -> str:
        return service_href(self.episode.service)

    @property
    def is_open(self) -> bool:
        return self.episode.ending is None and self.episode.status != "verified"

    @property
    def state(self) -> str:
        return _STATES.get(self.episode.status, (self.episode.status, ""))[0]

    @property
    def word(self) -> str:
        found = _STATES.get(self.episode.status)
        return found[1] if found else wording.STATE_WORDS[self.episode.status]

    @property
    def kind(self) -> str:
        if self.episode.status != "discrepancy":
            return self.episode.status
        return "missing" if self.missing else "extra" if self.episode.job_ids else "other"

    @property
    def missing(self) -> list[str]:
        found: list[str] = self.details.get("missingJobIds", [])
        return found

    @property
    def all_ids(self) -> list[str]:
        return [*self.missing, *self.episode.job_ids]

    @property
    def ids(self) -> Ids:
        return Ids.of(self.all_ids, max(len(self.all_ids), self.episode.jobs))

    @property
    def words(self) -> str:
        status = self.episode.status
        if status == "unaccounted":
            return f"{sentences.jobs(self.episode.jobs)} {sentences.kind_word('unaccounted')}:"
        if status == "stale":
            return f"{self.current.get('reason') or 'gave no answer that could be believed'}{self._before()}"
        if status == "verified":
            return "agrees with what Beacon knows"
        said = [sentences.both_sides(self.name, self.details), self._what()]
        return "; ".join(part for part in said if part) or "differs from what Beacon knows"

    def _what(self) -> str:
        if self.missing:
            return f"{self._number()} missing:"
        if self.episode.job_ids:
            return f"{self._number()} {sentences.kind_word('extra')}:"
        return sentences.listed(self.current.get("findings") or [])

    def _number(self) -> str:
        # The record names as many of the missing as an event holds: both sides tell how many there are.
        gap = int(self.details.get("expected", 0)) - int(self.details.get("actual", 0)) if self.missing else 0
        return f"{max(gap, len(self.missing) or self.episode.jobs):,}"

    def _before(self) -> str:
        """Of a service that does not answer: nobody has said that its jobs are in order."""
        number = len(self.all_ids)
        return f"; {sentences.jobs(number)} {'was' if number == 1 else 'were'} wrong before:" if number else ""

    @property
    def ended(self) -> str:
        """How, in words; empty while it is open."""
        return _ENDED.get(self.episode.ending.status, "") if self.episode.ending else ""

    @property
    def closed(self) -> list[str]:
        """`3 accepted by bob: deleted by hand`, one for each way in which jobs were closed then."""
        return [closing_words(one) for one in self.episode.closings]

    def as_change(self) -> ChangeRow:
        """As the search looks at rows."""
        ids = Ids(tuple(self.all_ids))
        words = " ".join([self.words, self.ended, *self.closed])
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
            "jobIds": self.all_ids,
            "open": self.is_open,
            "endedAt": ending.at if ending else None,
            "endedHow": ending.status if ending else None,
            "closed": [
                {"kind": done.kind, "how": done.how, "number": done.number, "by": done.by, "reason": done.reason}
                for done in one.closings
            ],
        }


def closing_words(done: Closing) -> str:
    by = f" by {done.by}" if done.by else ""
    reason = f": {done.reason}" if done.reason else ""
    return f"{done.number:,} {_HOW.get(done.how, done.how)}{by}{reason}"
