"""Describes who gets a flag once all its rules are applied, not only the percentage. Pure.

"100 % of users" is untrue if a parent is off, a segment has one person or the engine cannot read the percentage.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from app.flags import document
from app.flags.document import ConfiguredState, Flag

# What the flag engine reads as a percentage; it treats anything else as 0.
_ENGINE_PERCENTAGE = re.compile(r"\+?[0-9]+")
Override = Literal["on", "off"] | None
_Features = Mapping[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class RolloutOutcome:
    """The effect of all rules. `nobody`: why nobody is in although the flag is on. `everybody`: why everybody is in
    without a percentage. `limits`: the only groups that can be in, such as `segment beta`; `constraints`: how many of
    its own limit it further. `unread`: why the engine treats the percentage as 0, until one is set from Beacon."""

    nobody: str | None = None
    everybody: str | None = None
    limits: Sequence[str] = ()
    constraints: int = 0
    unread: str | None = None

    @classmethod
    def of(cls, text: str, flag: Flag) -> Self:
        found = json.loads(text)
        features = {str(feature["name"]): feature for feature in found["features"]}
        feature = features.get(flag)
        return cls() if feature is None else cls(**_collect_rules(feature, features, _segment_names(found), 0))

    @property
    def why_nobody(self) -> str | None:
        return self.nobody or self.unread

    @property
    def is_plain(self) -> bool:
        """True if switch and percentage alone determine who is in."""
        return self.why_nobody is None and self.everybody is None and not self.limit_words

    @property
    def limit_words(self) -> str:
        """`segment beta lets`, `segment beta and its constraint let`; empty without limits."""
        own = ["its constraint" if self.constraints == 1 else f"its {self.constraints} constraints"]
        limits = [*self.limits, *(own if self.constraints else [])]
        is_one = len(limits) == 1 and self.constraints <= 1
        return f"{' and '.join(limits)} {'lets' if is_one else 'let'}" if limits else ""

    def describe(self, now: ConfiguredState) -> str:
        """`50 % of users are in`, `100 % of those whom segment beta lets in`, `parent checkout is off: nobody is in`"""
        if now.enabled and now.percentage is not None and self.why_nobody is None and self.everybody is None:
            return f"{now.percentage:g} % {self.describe_people(now)}"
        return self.describe_people(now)

    def describe_people(self, now: ConfiguredState) -> str:
        """The same without the percentage."""
        if not now.enabled:
            return "switched off: nobody is in"
        if self.why_nobody is not None:
            return f"{self.why_nobody}: nobody is in"
        if self.everybody is not None:
            return f"{self.everybody}: everybody is in"
        if now.percentage is None:
            return "no single percentage says who is in"
        return f"of those whom {self.limit_words} in" if self.limit_words else "of users are in"

    def describe_change(
        self, before: ConfiguredState, percentage: float | None, enabled: bool | None, override: Override = None
    ) -> str:
        """The effect of a change, for the confirmation: `Everybody will be in.`, `Nobody will be in: parent checkout is
        off.` None means unchanged. `override`: the value that a setting forces for everybody."""
        rules = self if percentage is None else replace(self, unread=None)
        comes = rules._describe_who_comes(before.percentage if percentage is None else percentage)
        if override is not None:
            return f"The setting decides: {override} for everybody. Without it {comes}."
        if not (before.enabled if enabled is None else enabled):
            return f"Once it is switched on, {comes}."
        return f"{comes[0].upper()}{comes[1:]}."

    def describe_steps(self, override: Override = None) -> str | None:
        """What the percentages of a plan refer to, if not to all users."""
        if override is not None:
            return f"the setting decides: {override} for everybody, whatever the percentage"
        if self.nobody is not None:
            return f"{self.nobody}: nobody is in, whatever the percentage"
        if self.everybody is not None:
            return f"{self.everybody}: everybody is in, whatever the percentage"
        return f"each percentage is of those whom {self.limit_words} in" if self.limit_words else None

    def _describe_who_comes(self, percentage: float | None) -> str:
        if self.why_nobody is not None:
            return f"nobody will be in: {self.why_nobody}"
        if self.everybody is not None:
            return f"everybody will be in: {self.everybody}"
        if percentage is None:
            return "everybody may be in: no single percentage says how many"
        if self.limit_words:
            return f"{percentage:g} % of those whom {self.limit_words} in will be in"
        return "everybody will be in" if percentage == 100 else f"{percentage:g} % of users will be in"


PLAIN_OUTCOME = RolloutOutcome()


def _collect_rules(
    feature: dict[str, Any], features: _Features, segments: Mapping[Any, str], depth: int
) -> dict[str, Any]:
    strategies, limits, constraints, unread = feature.get("strategies") or [], list[str](), 0, None
    for dependency in feature.get("dependencies") or []:
        nobody, limit = _check_parent(dependency, features, segments, depth)
        if nobody is not None:
            return {"nobody": nobody}
        limits += [] if limit is None else [limit]
    if len(strategies) == 1:
        nobody, unread = _find_missing_segment(strategies[0], segments), _find_unreadable_percentage(strategies[0])
        if nobody is not None:
            return {"nobody": nobody}
        limits += [f"segment {segments[number]}" for number in strategies[0].get("segments") or []]
        constraints = len(strategies[0].get("constraints") or [])
    everybody = "it has no strategy" if not strategies and not limits else None
    return {"everybody": everybody, "limits": tuple(limits), "constraints": constraints, "unread": unread}


def _check_parent(
    dependency: dict[str, Any], features: _Features, segments: Mapping[Any, str], depth: int
) -> tuple[str | None, str | None]:
    """The reason why the parent lets nobody in, or None; the limit it adds, or None."""
    name, wants_on = str(dependency["feature"]), dependency.get("enabled", True)
    parent = features.get(name)
    if parent is None:
        return (f"parent {name} is not there", None) if wants_on else (None, None)
    if depth > len(features):
        return None, f"parent {name}"  # a cycle, which Unleash does not allow
    rules = RolloutOutcome(**_collect_rules(parent, features, segments, depth + 1))
    lets_in = bool(parent.get("enabled")) and rules.why_nobody is None
    if not wants_on:
        return (None, None) if not lets_in else (None, f"parent {name}")
    if not lets_in:
        why = f" ({rules.why_nobody})" if parent.get("enabled") else ""
        return f"parent {name} is off{why}", None
    if (rules.is_plain and _parent_percentage(parent) == 100) or rules.everybody is not None:
        return None, f"parent {name}" if dependency.get("variants") else None
    return None, f"parent {name}"


def _find_missing_segment(strategy: dict[str, Any], segments: Mapping[Any, str]) -> str | None:
    for number in strategy.get("segments") or []:
        if number not in segments:
            return f"segment {number} is not there"
    return None


def _find_unreadable_percentage(strategy: dict[str, Any]) -> str | None:
    raw = (strategy.get("parameters") or {}).get("rollout")
    if document.parse_percentage(raw) is not None and not (isinstance(raw, str) and _ENGINE_PERCENTAGE.fullmatch(raw)):
        return f"its percentage is written as {json.dumps(raw)}, and the flag engine reads whole numbers in text alone"
    return None


def _parent_percentage(feature: dict[str, Any]) -> float | None:
    return document.read_strategies(True, feature.get("strategies") or []).percentage


def _segment_names(found: dict[str, Any]) -> Mapping[Any, str]:
    return {each["id"]: str(each.get("name") or each["id"]) for each in found.get("segments") or []}
