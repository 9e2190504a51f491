"""What was changed on purpose in the last hour, to be marked in the graphs: rollout steps and deploys.

Only what everyone may see: a graph knows no viewer."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.eventlog import reader as log
from app.eventlog.audience import EVERYONE
from app.eventlog.reader import Event
from app.infra.clock import utc_text

# The log has no index by time or type: a worker looks at what came since its last look, and at no more than this.
LOOKED_AT = 2_000
KEPT = timedelta(hours=1)
DEPLOY = "deploy."
MAX_WORD = 40


@dataclass(frozen=True, slots=True)
class Turn:
    """A change in a few words; `service` is empty where it may have touched all of them."""

    at: str
    word: str
    service: str = ""

    @classmethod
    def of(cls, event: Event) -> "Turn":
        service = event.data.get("service")
        return cls(event.timestamp, _word(event)[:MAX_WORD], service if isinstance(service, str) else "")


def _word(event: Event) -> str:
    if event.type != "flag.changed":
        return event.type.replace(".", " ")
    if not event.data["enabled"]:
        return "rollout off"
    if str(event.data.get("outcome") or "").endswith("nobody is in"):
        return "rollout: nobody in"
    percentage = event.data.get("percentage")
    return "rollout changed" if percentage is None else f"rollout {percentage} %"


class Turns:
    """The turns that this worker has seen in the log, for as long as a graph shows them."""

    def __init__(self) -> None:
        self._cursor = 0
        self._turns: tuple[Turn, ...] = ()
        # What the log said last of each flag.
        self._stood: Mapping[str, str] = {}
        self._lock = threading.Lock()

    def of(self, session: Session, now: datetime) -> tuple[Turn, ...]:
        with self._lock:
            cursor, known, stood = self._cursor, self._turns, self._stood
        rows = log.fetch_rows(session, max(cursor, log.head(session) - LOOKED_AT), {EVERYONE}, LOOKED_AT)
        oldest = utc_text(now - KEPT)
        moved, stands = _moved(_told(rows), stood)
        turns = tuple(turn for turn in (*known, *map(Turn.of, moved)) if turn.at > oldest)
        with self._lock:
            if self._cursor == cursor:  # otherwise another request was faster, and has kept the same
                self._cursor, self._turns, self._stood = rows.cursor, turns, stands
        return turns


def _told(rows: log.EventRows) -> Iterable[Event]:
    return log.decode_rows(row for row in rows.rows if row.type == "flag.changed" or row.type.startswith(DEPLOY))


def _moved(events: Iterable[Event], stood: Mapping[str, str]) -> tuple[list[Event], Mapping[str, str]]:
    """Without those that say where a flag stands anyway, as when the guardrail holds it or a plan is paused; and where
    each stands after them. The first that is heard of a flag counts."""
    found, stands = [], dict(stood)
    for event in events:
        if event.type == "flag.changed":
            flag, word = str(event.data["flag"]), _word(event)
            if stands.get(flag) == word:
                continue
            stands[flag] = word
        found.append(event)
    return found, stands
