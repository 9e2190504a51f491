"""Parses the forms and query parameters of the rollout page, including the state that the user saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import urlencode

from werkzeug.datastructures import MultiDict

from app.flags.document import ConfiguredState, Flag, parse_percentage
from app.flags.embedded import MAX_REASON_LENGTH, ExpectedState
from app.infra.problems import Problem
from app.rollout import flag_changes
from app.rollout.evidence import MAX_MINIMUM
from app.rollout.plan_options import ON_TROUBLE, PlanOptions
from app.rollout.schedule import InvalidSchedule

FLAG = Flag.SSE_STREAMING
DEFAULT_REASON = "rolled back by hand"
NOT_CONFIRMED = f"Type {FLAG}, or 100, to confirm."
# The maximum number of steps of a plan.
MAX_PLAN_ROWS = 20
# The fields of a plan beside its steps; minimums with the least that they may be.
MINIMUM_RULES = {"people": 1, "connects": 1, "streamMinutes": 0, "events": 0}
PLAN_RULES = (*MINIMUM_RULES, "onTrouble", "approval", "startAt", "quietFrom", "quietTo", "zone")
CHART_SPANS = {60: "last hour", 360: "last 6 hours"}


@dataclass(frozen=True, slots=True)
class RolloutForm:
    """The change under review: a `percentage` to set, or `on` to switch on again; neither without a review. `text` is
    the percentage as typed, `wrong` its error. `seen` is the state of the flag that the user saw."""

    text: str = ""
    percentage: int | None = None
    on: bool = False
    wrong: str = ""
    reason: str = ""
    typed: str = ""
    seen: ExpectedState | None = None
    minutes: int = 60

    @classmethod
    def of(cls, members: Mapping[str, str]) -> Self:
        text = members.get("percentage", "").strip()
        percentage = _parse_percentage(text)
        wrong = "A percentage is a whole number from 0 to 100." if text and percentage is None else ""
        on = members.get("on") == "1" and not text
        minutes = 360 if members.get("minutes") == "360" else 60
        reason, typed = (_clean_line(members.get(name, "")) for name in ("reason", "typed"))
        return cls(text, percentage, on, wrong, reason, typed, _parse_expected(members), minutes)

    @property
    def without_expected(self) -> Self:
        """Without the seen state, for GET requests: following a link proves nothing about what the user saw."""
        return replace(self, seen=None)

    @property
    def fresh_review_query(self) -> str:
        """The query of the same review with the current state, keeping the typed reason."""
        return self.build_query(self.minutes, reason=True)

    def expected_state(self, now: ConfiguredState, changed_at: str | None) -> ExpectedState:
        """The state that the review form sends as seen: the current one, or the one of a refused submission. Who only
        corrects a typo has not seen the current state."""
        return self.seen or ExpectedState(now.percentage, now.enabled, changed_at or "")

    @property
    def is_review(self) -> bool:
        return self.percentage is not None or self.on

    @property
    def is_confirmed(self) -> bool:
        """True if the confirmation for letting everybody in was typed."""
        return flag_changes.is_confirmation(self.typed, FLAG)

    @property
    def review_query(self) -> str:
        """The query string of the review."""
        return self.build_query(self.minutes)

    @property
    def page_query(self) -> str:
        """The query string of the page without a review."""
        return _build_query({"minutes": _format_minutes(self.minutes)})

    def build_query(self, minutes: int, *, reason: bool = False) -> str:
        """The query string of the review with this chart span, optionally with the typed reason."""
        percentage = "" if self.percentage is None else str(self.percentage)
        members = {"on": "1"} if self.on else {"percentage": percentage}
        return _build_query({**members, "reason": self.reason if reason else "", "minutes": _format_minutes(minutes)})

    @property
    def action_label(self) -> str:
        return "Switch on again" if self.on else f"Set to {self.percentage} %"

    def needs_confirmation(self, now: ConfiguredState) -> bool:
        """True if everybody would be in, or an unknown number."""
        return flag_changes.needs_confirmation(now, self.percentage, True if self.on else None)

    def check(self, now: ConfiguredState) -> None:
        """Raises the 400 `Problem` for missing or invalid input."""
        if self.wrong or not self.is_review:
            raise Problem(400, "Nothing to set", self.wrong or "Give a percentage, or switch the flag on.")
        if not self.reason:
            raise Problem(400, "No reason", "Give a reason: people will want to know why.")
        if self.needs_confirmation(now) and not self.is_confirmed:
            raise Problem(400, "Not confirmed", NOT_CONFIRMED)


def parse_reason(members: Mapping[str, str]) -> str:
    """The reason of a one-click action; the default if the field was cleared."""
    return _clean_line(members.get("reason", "")) or DEFAULT_REASON


@dataclass(frozen=True, slots=True)
class PlanForm:
    """The plan form: `rows` are `(percentage, minutes)` as typed. `is_submitted`: the form was submitted. `seen` is the
    plan that the user saw; None without a submission. `rules` are the other fields as typed."""

    rows: Sequence[tuple[str, str]]
    reason: str = ""
    typed: str = ""
    is_submitted: bool = False
    seen: str | None = None
    rules: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, form: MultiDict[str, str]) -> Self:
        rows = list(zip(form.getlist("percentage"), form.getlist("minutes"), strict=False))[:MAX_PLAN_ROWS]
        reason, typed = (_clean_line(form.get(name, "")) for name in ("reason", "typed"))
        rules = {name: _clean_line(form.get(name, "")) for name in PLAN_RULES}
        return cls(
            [(_clean_line(one), _clean_line(other)) for one, other in rows],
            reason,
            typed,
            True,
            form.get("seenPlan"),
            rules,
        )

    @property
    def summary(self) -> str:
        steps = ", ".join(f"{percentage} % for {minutes} min" for percentage, minutes in self.rows if percentage)
        return f"You asked for {steps}: {self.reason}"


def parse_options(form: Mapping[str, str]) -> PlanOptions:
    """What the plan says beside its steps; empty fields are the default. Raises the 400 `Problem`."""
    rules = {name: _clean_line(form.get(name, "")) for name in PLAN_RULES}
    minimums = {name: _parse_minimum(rules[name], least) for name, least in MINIMUM_RULES.items()}
    quiet = {"from": rules["quietFrom"], "to": rules["quietTo"], "zone": rules["zone"] or "UTC"}
    on_trouble = rules["onTrouble"]
    if on_trouble and on_trouble not in ON_TROUBLE:
        raise Problem(400, "Invalid plan", f"In trouble a plan can {', '.join(ON_TROUBLE.values())}.")
    try:
        return PlanOptions.of(
            {
                "minimums": {name: number for name, number in minimums.items() if number is not None},
                "onTrouble": on_trouble or None,
                "approval": rules["approval"] == "1",
                "startAt": rules["startAt"] or None,
                "quietHours": quiet if rules["quietFrom"] or rules["quietTo"] else None,
            }
        )
    except InvalidSchedule as error:
        raise Problem(400, "Invalid plan", f"{str(error)[:1].upper()}{str(error)[1:]}.") from error


def _parse_minimum(text: str, least: int) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 7 and least <= int(text) <= MAX_MINIMUM):
        raise Problem(400, "Invalid plan", f"A minimum is a whole number from {least} to {MAX_MINIMUM:,}.")
    return int(text)


DEFAULT_PLAN = PlanForm([("10", "60"), ("50", "60"), ("100", "60")])


def _build_query(members: Mapping[str, str]) -> str:
    given = {name: value for name, value in members.items() if value}
    return f"?{urlencode(given)}" if given else ""


def _format_minutes(minutes: int) -> str:
    """Empty for the default of one hour."""
    return "" if minutes == 60 else str(minutes)


def _parse_expected(members: Mapping[str, str]) -> ExpectedState | None:
    percentage, enabled = parse_percentage(members.get("seenPercentage")), members.get("seenEnabled")
    at = members.get("seenAt")
    if percentage is None and enabled not in ("true", "false") and at is None:
        return None
    return ExpectedState(percentage, enabled == "true" if enabled in ("true", "false") else None, at)


def _parse_percentage(text: str) -> int | None:
    fits = text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= 100
    return int(text) if fits else None


def _clean_line(text: str) -> str:
    """Strip NUL and surrogates, collapse whitespace, and truncate to the length of a reason."""
    kept = "".join(sign for sign in text if sign != "\0" and not "\ud800" <= sign <= "\udfff")
    return " ".join(kept.split())[:MAX_REASON_LENGTH]
