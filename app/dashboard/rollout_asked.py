"""What somebody wants to do to the rollout, as an address or a form says it; what was seen goes along."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from app.errors import Problem
from app.rollout.configuration import Flag, Nominal
from app.rollout.store import MAX_REASON, Expected

FLAG = Flag.SSE_STREAMING
BY_HAND = "rolled back by hand"
NOT_CONFIRMED = f"Type {FLAG}, or 100, to confirm."
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
    def is_review(self) -> bool:
        return self.percentage is not None or self.on

    @property
    def is_confirmed(self) -> bool:
        """Whether letting everybody in was typed."""
        return self.typed.removesuffix("%").strip() in ("100", FLAG)

    @property
    def query(self) -> str:
        """The address of its review."""
        return "?on=1" if self.on else f"?percentage={self.percentage}" if self.percentage is not None else ""

    @property
    def verb(self) -> str:
        return "Switch on again" if self.on else f"Set to {self.percentage} %"

    def must_type(self, now: Nominal) -> bool:
        """Whether everybody would be in."""
        return 100 in (self.percentage, now.percentage if self.on else None)

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


def _seen(members: Mapping[str, str]) -> Expected | None:
    percentage, enabled = _percentage(members.get("seenPercentage", "")), members.get("seenEnabled")
    if percentage is None and enabled not in ("true", "false"):
        return None
    return Expected(percentage, enabled == "true" if enabled in ("true", "false") else None)


def _percentage(text: str) -> int | None:
    fits = text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= 100
    return int(text) if fits else None


def _line(text: str) -> str:
    """What a database takes, and no longer than a reason may be."""
    kept = "".join(sign for sign in text if sign != "\0" and not "\ud800" <= sign <= "\udfff")
    return " ".join(kept.split())[:MAX_REASON]
