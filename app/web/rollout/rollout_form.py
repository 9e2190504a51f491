"""What somebody wants to do to the rollout, as an address or a form says it; what was seen goes along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from app.flags.document import Flag, Nominal, parse_percentage
from app.flags.embedded import MAX_REASON, Expected
from app.infra.problems import Problem
from app.rollout import flag_changes

FLAG = Flag.SSE_STREAMING
BY_HAND = "rolled back by hand"
NOT_CONFIRMED = f"Type {FLAG}, or 100, to confirm."
# Of a plan: as many as one may have.
MOST_ROWS = 20
SPANS = {60: "last hour", 360: "last 6 hours"}


@dataclass(frozen=True, slots=True)
class Asked:
    """`percentage` to be set, or `on`: to be switched on again; neither where nothing is looked at. `text` is the
    percentage as typed, and `wrong` what is wrong with it. `seen` is where the flag stood when it was looked at."""

    text: str = ""
    percentage: int | None = None
    on: bool = False
    wrong: str = ""
    reason: str = ""
    typed: str = ""
    seen: Expected | None = None
    minutes: int = 60

    @classmethod
    def of(cls, members: Mapping[str, str]) -> Self:
        text = members.get("percentage", "").strip()
        percentage = _percentage(text)
        wrong = "A percentage is a whole number from 0 to 100." if text and percentage is None else ""
        on = members.get("on") == "1" and not text
        minutes = 360 if members.get("minutes") == "360" else 60
        reason, typed = (_line(members.get(name, "")) for name in ("reason", "typed"))
        return cls(text, percentage, on, wrong, reason, typed, _seen(members), minutes)

    @property
    def without_proof(self) -> Self:
        """As an address asks: nobody has seen anything by following one."""
        return replace(self, seen=None)

    @property
    def look_again(self) -> str:
        """The address of the same review of what stands now, with the reason that was typed."""
        return self.query_of(self.minutes, reason=True)

    def proof(self, now: Nominal, changed_at: str | None) -> Expected:
        """What the form of the review carries as seen: what stands now, or, where a press was refused, what that press
        had seen. What stands by now was not seen by whoever corrects a slip."""
        return self.seen or Expected(now.percentage, now.enabled, changed_at or "")

    @property
    def is_review(self) -> bool:
        return self.percentage is not None or self.on

    @property
    def is_confirmed(self) -> bool:
        """Whether letting everybody in was typed."""
        return flag_changes.is_confirmation(self.typed, FLAG)

    @property
    def query(self) -> str:
        """The address of its review."""
        return self.query_of(self.minutes)

    @property
    def span(self) -> str:
        """The address of the page without a review."""
        return _query({"minutes": _said_minutes(self.minutes)})

    def query_of(self, minutes: int, *, reason: bool = False) -> str:
        """The address of its review beside so many minutes of evidence, and with the reason that was typed."""
        percentage = "" if self.percentage is None else str(self.percentage)
        members = {"on": "1"} if self.on else {"percentage": percentage}
        return _query({**members, "reason": self.reason if reason else "", "minutes": _said_minutes(minutes)})

    @property
    def verb(self) -> str:
        return "Switch on again" if self.on else f"Set to {self.percentage} %"

    def must_type(self, now: Nominal) -> bool:
        """Whether everybody would be in, or nobody can say how many."""
        return flag_changes.must_be_confirmed(now, self.percentage, True if self.on else None)

    def check(self, now: Nominal) -> None:
        """Raises the 400 `Problem` for what was not typed or given."""
        if self.wrong or not self.is_review:
            raise Problem(400, "Nothing to set", self.wrong or "Say what is to be set.")
        if not self.reason:
            raise Problem(400, "No reason", "Give a reason: people will want to know why.")
        if self.must_type(now) and not self.is_confirmed:
            raise Problem(400, "Not confirmed", NOT_CONFIRMED)


def reason_of(members: Mapping[str, str]) -> str:
    """Of what takes one press: filled in, and wiped out by somebody it is filled in again."""
    return _line(members.get("reason", "")) or BY_HAND


@dataclass(frozen=True, slots=True)
class PlanAsked:
    """The form of a plan: `rows` are `(percentage, minutes)`, all of it as typed. `is_given`: somebody has typed it.
    `seen` is the plan that they had seen; None where nothing was pressed."""

    rows: Sequence[tuple[str, str]]
    reason: str = ""
    typed: str = ""
    is_given: bool = False
    seen: str | None = None

    @classmethod
    def of(cls, form: MultiDict[str, str]) -> Self:
        rows = list(zip(form.getlist("percentage"), form.getlist("minutes"), strict=False))[:MOST_ROWS]
        reason, typed = (_line(form.get(name, "")) for name in ("reason", "typed"))
        return cls([(_line(one), _line(other)) for one, other in rows], reason, typed, True, form.get("seenPlan"))

    @property
    def words(self) -> str:
        steps = ", ".join(f"{percentage} % for {minutes} min" for percentage, minutes in self.rows if percentage)
        return f"You asked for {steps}: {self.reason}"


STEPS = PlanAsked([("10", "60"), ("50", "60"), ("100", "60")])


def _query(members: Mapping[str, str]) -> str:
    given = {name: value for name, value in members.items() if value}
    return f"?{urlencode(given)}" if given else ""


def _said_minutes(minutes: int) -> str:
    """An hour is not worth saying."""
    return "" if minutes == 60 else str(minutes)


def _seen(members: Mapping[str, str]) -> Expected | None:
    percentage, enabled = parse_percentage(members.get("seenPercentage")), members.get("seenEnabled")
    at = members.get("seenAt")
    if percentage is None and enabled not in ("true", "false") and at is None:
        return None
    return Expected(percentage, enabled == "true" if enabled in ("true", "false") else None, at)


def _percentage(text: str) -> int | None:
    fits = text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= 100
    return int(text) if fits else None


def _line(text: str) -> str:
    """What a database takes, and no longer than a reason may be."""
    kept = "".join(sign for sign in text if sign != "\0" and not "\ud800" <= sign <= "\udfff")
    return " ".join(kept.split())[:MAX_REASON]
