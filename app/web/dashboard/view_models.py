"""What templates get: frozen values made from payloads, the same for first render, push and poll.

Nothing here knows a viewer: a pushed fragment is rendered once for everyone who may see its event.
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
from app.web.dashboard.sparklines import Trend

MAX_FIGURES = 4
MAX_IDS = 5
MAX_STRIP_ROWS = 5
# Beyond what an answer takes: then the page says of when the figures are.
FIGURES_LAG = timedelta(seconds=2)
DENSE_FROM = 24  # services; from here on the verified ones are one-line rows
NO_COUNTS = ("queued", "running", "failed")  # the figures of a service whose numbers are unknown
UNKNOWN = "—"

_SAFE_IN_SELECTOR = re.compile(r"[A-Za-z0-9_-]+")


def dom_key(service_id: str) -> str:
    """The service's part of an element id. Rows inserted by hand may name a service anything, and one bad
    selector would end the page's subscription: whatever is not plain is written in hex."""
    if _SAFE_IN_SELECTOR.fullmatch(service_id):
        return service_id
    return "x-" + service_id.encode("utf-8", "surrogatepass").hex()


def service_href(service_id: str) -> str:
    return f"/services/{quote(service_id, safe='', errors='replace')}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its label. `value` is text, because unknown is `—` and a disagreeing pair shows both;
    `exact` stands on hover: where `value` is rounded, older than the check, or unknown for a reason."""

    state: str
    value: str
    label: str
    exact: str = ""


@dataclass(frozen=True, slots=True)
class Ids:
    """Job ids as far as they are shown; `more` are not."""

    shown: tuple[str, ...] = ()
    more: int = 0

    @classmethod
    def of(cls, ids: Sequence[str], total: int = 0) -> Self:
        """`total` where there are more than are at hand."""
        shown = tuple(ids[:MAX_IDS])
        return cls(shown, max(len(ids), total) - len(shown))

    @property
    def total(self) -> int:
        return len(self.shown) + self.more


NO_IDS = Ids()


@dataclass(frozen=True, slots=True)
class Check:
    """The newest look at a service: the leaf that `reconciliation.verified` moves.

    `as_of`: of when its figures are, by the service's own word.
    """

    key: str
    at: str
    latency_ms: int
    as_of: str | None = None

    @property
    def lags(self) -> bool:
        """Whether the figures were older than the time that an answer takes, so that their own time has to be said."""
        return self.as_of is not None and parse_utc(self.at) - parse_utc(self.as_of) > FIGURES_LAG


@dataclass(frozen=True, slots=True)
class LastDiscrepancy:
    at: str
    missing: Ids
    closed_at: str | None


@dataclass(frozen=True, slots=True)
class Limit:
    """What a check could not look at, whatever it found in the rest; `title` says more on hover."""

    words: str
    title: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One service. `state` is what was told last, `status` what holds now; `aged`: nobody has checked for too long, so
    that the two differ. `before`: what was wrong when somebody heard of it last, for when nobody does.

    `findings` changes with the state and what is found wrong: what is shown of it elsewhere on a page knows when to
    load again. `bound`: states of which only the number is known; `unreadable`: entries that cannot be read;
    `unserved`: jobs that wait where no worker takes them; `lost`: how many at once.
    """

    service_id: str
    key: str
    name: str
    state: str
    figures: tuple[Figure, ...]
    check: Check | None = None
    verified_at: str | None = None
    last_discrepancy: LastDiscrepancy | None = None
    reason: str | None = None
    words: str = ""
    missing: Ids = NO_IDS
    findings: str = ""
    aged: bool = False
    bound: Limit | None = None
    unreadable: Limit | None = None
    unserved: Limit | None = None
    lost: str = ""
    silent_since: str | None = None
    before: str = ""

    @property
    def href(self) -> str:
        return service_href(self.service_id)

    @property
    def sort_key(self) -> str:
        return self.name.casefold()

    @property
    def status(self) -> str:
        return "stale" if self.aged else self.state

    @property
    def is_wrong(self) -> bool:
        return self.status in ("discrepancy", "stale")

    @property
    def is_loud(self) -> bool:
        """Whether it stays a tile where the others are rows."""
        return self.status != "verified"

    @property
    def word(self) -> str:
        return display_text.STATE_WORDS[self.state]

    @classmethod
    def unchecked(cls, service_id: str, name: str) -> Self:
        """A service that is registered and has not been looked at."""
        return cls(service_id, dom_key(service_id), name, "unknown", _unknown_figures())

    @classmethod
    def from_payload(
        cls,
        service_id: str,
        name: str,
        payload: Mapping[str, Any],
        *,
        check: Check | None = None,
        aged: bool = False,
    ) -> Self:
        """A tile from a `reconciliation.update`. `check` is a later look that changed nothing."""
        key = dom_key(service_id)
        newest = check or Check(key, payload["checkedAt"], payload["latencyMs"], payload.get("asOf"))
        findings = payload.get("findings") or []
        return cls(
            service_id,
            key,
            name,
            payload["status"],
            _figures(payload),
            newest,
            payload.get("lastVerifiedAt"),
            _last_discrepancy(payload.get("lastDiscrepancy")),
            payload.get("reason"),
            finding_text.describe_problem(name, payload),
            _missing(payload.get("discrepancyDetails"), findings),
            _signature(payload),
            aged,
            _bound(payload),
            _unreadable(payload),
            _unserved(payload),
            finding_text.list_findings([one for one in payload.get("findings") or () if one["kind"] == "lost"]),
            payload.get("silentSince"),
            finding_text.describe_earlier_findings(findings),
        )


def beyond_strip(tiles: Sequence[Tile]) -> frozenset[str]:
    """The keys of wrong services that the attention strip holds back: it shows the worst few and counts the rest."""
    wrong = sorted((tile for tile in tiles if tile.is_wrong), key=lambda tile: tile.status != "discrepancy")
    return frozenset(tile.key for tile in wrong[MAX_STRIP_ROWS:])


@dataclass(frozen=True, slots=True)
class Board:
    """All tiles as the page lays them out: `trends` only for those that show one."""

    tiles: Sequence[Tile]
    trends: Mapping[str, Trend]

    @property
    def dense(self) -> bool:
        return len(self.tiles) >= DENSE_FROM

    @property
    def quiet(self) -> int:
        return sum(not tile.is_loud for tile in self.tiles)

    @classmethod
    def of(cls, tiles: Sequence[Tile], trends: Mapping[str, Trend]) -> Self:
        dense = len(tiles) >= DENSE_FROM
        shown = {tile.service_id for tile in tiles if tile.is_loud or not dense}
        return cls(tiles, {service: trend for service, trend in trends.items() if service in shown})


def _bound(payload: Mapping[str, Any]) -> Limit | None:
    states = ", ".join(display_text.label(state) for state in payload.get("countsOnly") or ())
    if not states:
        return None
    queues = payload.get("countsOnlyQueues")
    where = f" in {', '.join(queues)}" if queues else ""
    return Limit(f"counts only: {states}", f"More jobs{where} than are listed one by one")


def _unreadable(payload: Mapping[str, Any]) -> Limit | None:
    found = next((one for one in payload.get("findings") or () if one["kind"] == "unreadable"), None)
    return found and Limit(f"{finding_text.count_jobs(found):,} unreadable", found.get("note") or "")


def _unserved(payload: Mapping[str, Any]) -> Limit | None:
    found = next((one for one in payload.get("findings") or () if one["kind"] == "no-worker"), None)
    if found is None:
        return None
    return Limit(
        f"{finding_text.format_job_count(finding_text.count_jobs(found))} without a worker",
        finding_text.describe_unserved_in_full([found]),
    )


def _figures(payload: Mapping[str, Any]) -> tuple[Figure, ...]:
    if payload["status"] == "stale":
        return _unknown_figures()
    details = payload.get("discrepancyDetails")
    differ = details is not None and details["expected"] != details["actual"]
    room = MAX_FIGURES - 1 if differ else MAX_FIGURES
    not_told, as_of = payload.get("notTold") or {}, payload.get("countsAsOf") or {}
    counted = display_text.in_order({**dict.fromkeys(not_told, 0), **payload["counts"]})[:room]
    figures = [
        Figure(state, UNKNOWN, display_text.label(state), not_told[state])
        if state in not_told
        else _figure(state, number, as_of.get(state))
        for state, number in counted
    ]
    if details is not None and differ:
        pair = f"{details['expected']:,} ≠ {details['actual']:,}"
        figures.append(Figure("pair", pair, "known ≠ reported"))
    return tuple(figures)


def _figure(state: str, number: int, as_of: str | None) -> Figure:
    value = display_text.short(number)
    exact = f"{number:,}"
    if as_of:
        return Figure(state, value, display_text.label(state), f"{exact} as of {parse_utc(as_of):%H:%M:%S} UTC")
    return Figure(state, value, display_text.label(state), "" if exact == value else exact)


def _unknown_figures() -> tuple[Figure, ...]:
    return tuple(Figure(state, UNKNOWN, display_text.label(state)) for state in NO_COUNTS)


def _last_discrepancy(last: Mapping[str, Any] | None) -> LastDiscrepancy | None:
    if last is None:
        return None
    return LastDiscrepancy(last["at"], Ids.of(last["missingJobIds"]), last.get("closedAt"))


def _missing(details: Mapping[str, Any] | None, findings: Sequence[Mapping[str, Any]]) -> Ids:
    """Of a service that is silent only its findings tell of both sides."""
    if details is not None:
        return Ids.of(details["missingJobIds"])
    found = next((one for one in findings if one["kind"] == "missing"), None)
    return Ids.of(found["jobIds"], finding_text.count_jobs(found)) if found else NO_IDS


def _signature(payload: Mapping[str, Any]) -> str:
    found = [payload["status"], payload.get("reason"), payload.get("discrepancyDetails"), payload.get("findings")]
    return f"{crc32(json.dumps(found).encode()):08x}"
