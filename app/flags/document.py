"""The flag configuration: JSON in the format of Unleash's client API, in both modes. Pure.

In embedded mode the text is built from the rollouts in Beacon's database. In Unleash mode it is the server's response.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.flags.definitions import DEFAULTS, Flag
from app.infra import json_limits
from app.infra.json_limits import JsonTooLarge

# Everybody who reads a configuration needs the flags too.
__all__ = [
    "DEFAULTS",
    "ConfiguredState",
    "Flag",
    "InvalidConfiguration",
    "Rollout",
]

# Limit for one response of Unleash: several thousand flags.
MAX_JSON_VALUES = 200_000


# Equivalent for a logged-in user: `default` uses the user id if there is one.
SUPPORTED_STICKINESS = ("userId", "default")


@dataclass(frozen=True, slots=True)
class Rollout:
    """The state of a flag. `enabled` is the kill switch. While it is on, the flag is on for `percentage` of users; None
    if no single number describes it."""

    enabled: bool = True
    percentage: float | None = 0

    @property
    def level(self) -> float | None:
        """The effective percentage: 0 while switched off, None if unknown."""
        return self.percentage if self.enabled else 0


@dataclass(frozen=True, slots=True)
class ConfiguredState:
    """The state of a flag according to a configuration. If no single number describes it, `percentage` is None and
    `why` is the reason. Unleash also accepts 12.5, which is shown as it is; Beacon sets whole numbers only.

    `has_unusable_stickiness`: that reason is a stickiness that makes the percentage meaningless per user. Fixable only
    in Unleash.
    """

    enabled: bool
    percentage: float | None
    why: str | None = None
    has_unusable_stickiness: bool = False

    @property
    def summary(self) -> str:
        """Equal for two configurations if and only if people would see the same text for both."""
        return f"{'on' if self.enabled else 'off'} {self.percentage if self.why is None else self.why}"


class InvalidConfiguration(ValueError):
    """The text is not a flag configuration."""


def serialize_rollouts(rollouts: Mapping[str, Rollout]) -> str:
    features = [_build_feature(flag, rollouts.get(flag, Rollout())) for flag in Flag]
    return json.dumps({"version": 2, "features": features})


def restrict_to_declared(text: str) -> str:
    """Keep only the parts of a server's response that affect declared flags. Raises `InvalidConfiguration`.

    An Unleash may have thousands of flags, and the stored text is parsed often.
    """
    try:
        found = json_limits.loads(text.encode(), MAX_JSON_VALUES)
        if all(isinstance(feature["name"], str) for feature in found["features"]):
            deciding = _relevant_features(found)
            kept = {name: found[name] for name in ("version", "meta") if name in found} | {"features": deciding}
            made = json.dumps(kept | ({"segments": _used_segments(found, deciding)} if "segments" in found else {}))
            json_limits.measure_json(made.encode())  # the stored text is parsed again on every load
            return made
    except JsonTooLarge as error:
        raise InvalidConfiguration(f"the response is a list of flags with {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise InvalidConfiguration("the response is not a list of flags")


def compute_version(text: str) -> str:
    """A hash that changes if and only if something changes that affects a declared flag."""
    found = json.loads(text)
    deciding = _relevant_features(found)
    canonical = json.dumps(
        [[_relevant_fields(each) for each in deciding], _used_segments(found, deciding)], sort_keys=True
    )
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def is_timed(text: str) -> bool:
    """True if a constraint may depend on the time, so results change without a new one. May overreport."""
    return any(f'"{word}"' in text for word in ("currentTime", "DATE_AFTER", "DATE_BEFORE"))


def read_revision(text: str) -> int:
    """Unleash's revision number; 0 if it sends none."""
    found = json.loads(text).get("meta")
    number = found.get("revisionId") if isinstance(found, dict) else None
    return number if isinstance(number, int) else 0


def find_project(text: str, flag: Flag) -> str | None:
    """The Unleash project that contains the flag."""
    feature = _find_feature(json.loads(text), flag)
    return None if feature is None else str(feature.get("project") or "default")


def read_state(text: str, flag: Flag) -> ConfiguredState:
    feature = _find_feature(json.loads(text), flag)
    if feature is None:
        return ConfiguredState(enabled=DEFAULTS[flag], percentage=None, why="Unleash has no flag of this name")
    return read_strategies(bool(feature.get("enabled")), feature.get("strategies") or [])


def parse_percentage(raw: object) -> float | None:
    """Parse a percentage as Unleash writes it: an int for whole numbers, None if it is invalid."""
    try:
        found = float(str(raw))
    except ValueError:
        return None
    if not 0 <= found <= 100:
        return None
    return int(found) if found.is_integer() else found


def read_strategies(enabled: bool, strategies: list[dict[str, Any]]) -> ConfiguredState:
    """The percentage that these strategies amount to, or the reason why there is none."""
    if len(strategies) != 1:
        number = len(strategies) or "no"
        why = f"it has {number} strategies; Beacon sets the percentage of exactly one gradual rollout"
        return ConfiguredState(enabled, None, why)
    (strategy,) = strategies
    if strategy.get("name") != "flexibleRollout":
        why = f"its strategy is {strategy.get('name')}; Beacon sets the percentage of a gradual rollout"
        return ConfiguredState(enabled, None, why)
    if strategy.get("disabled"):
        return ConfiguredState(enabled, None, "its strategy is disabled in Unleash")
    try:
        parameters = strategy["parameters"]
        percentage, stickiness = parse_percentage(parameters["rollout"]), parameters.get("stickiness", "userId")
    except (KeyError, TypeError, AttributeError):
        percentage = None
    if percentage is None:
        return ConfiguredState(enabled, None, "its gradual rollout has no percentage")
    if stickiness in SUPPORTED_STICKINESS:
        return ConfiguredState(enabled, percentage)
    result = "random, so nobody stays in or out"
    if stickiness != "random":
        result = f"{stickiness}, which Beacon does not have, so nobody is in"
    why = f"its stickiness is {result}; set it to userId or default there"
    return ConfiguredState(enabled, None, why, has_unusable_stickiness=True)


def find_other_group(text: str, flag: Flag) -> str | None:
    """The `groupId` if it differs from the flag's name: buckets are stable, but differ from embedded mode."""
    feature = _find_feature(json.loads(text), flag)
    strategies = [] if feature is None else feature.get("strategies") or []
    groups = [(strategy.get("parameters") or {}).get("groupId", flag.value) for strategy in strategies]
    return next((str(group) for group in groups if group != flag.value), None)


def with_percentage(text: str, flag: Flag, percentage: float | None, enabled: bool) -> str:
    """A copy of the configuration with this percentage and switch for the flag. None keeps the percentages."""
    found = json.loads(text)
    feature = _find_feature(found, flag)
    if feature is not None:
        feature["enabled"] = enabled
        for strategy in [] if percentage is None else feature.get("strategies") or []:
            if strategy.get("name") == "flexibleRollout":
                strategy["parameters"] = {**strategy.get("parameters", {}), "rollout": f"{percentage:g}"}
    return json.dumps(found)


def _build_feature(flag: Flag, rollout: Rollout) -> dict[str, Any]:
    """`groupId` and `stickiness` determine the buckets. The values are Unleash's defaults for a new gradual rollout."""
    parameters = {"rollout": f"{rollout.percentage or 0:g}", "stickiness": "userId", "groupId": flag.value}
    strategy = {"name": "flexibleRollout", "parameters": parameters, "constraints": []}
    return {"name": flag.value, "type": "release", "enabled": rollout.enabled, "strategies": [strategy]}


def _relevant_features(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The declared flags and, recursively, the flags they depend on, in a stable order."""
    by_name = {str(feature["name"]): feature for feature in found["features"]}
    wanted, asked = {flag.value for flag in Flag}, [flag.value for flag in Flag]
    while asked:
        feature = by_name.get(asked.pop()) or {}
        new = {str(parent["feature"]) for parent in feature.get("dependencies") or []} - wanted
        wanted |= new
        asked += new
    return [by_name[name] for name in sorted(wanted & by_name.keys())]


def _relevant_fields(feature: dict[str, Any]) -> dict[str, Any]:
    """Includes the variants for parent flags, because children may depend on a variant."""
    names = ["name", "enabled", "strategies", "dependencies"]
    return {name: feature.get(name) for name in names + (["variants"] if feature["name"] not in set(Flag) else [])}


def _used_segments(found: dict[str, Any], features: list[dict[str, Any]]) -> list[Any]:
    """The segments these flags use, as sent. Unleash sends them separately, or inlined as constraints."""
    strategies = [strategy for feature in features for strategy in feature.get("strategies") or []]
    used = {number for strategy in strategies for number in strategy.get("segments") or []}
    return [segment for segment in found.get("segments") or [] if segment["id"] in used]


def _find_feature(found: dict[str, Any], flag: Flag) -> dict[str, Any] | None:
    return next((feature for feature in found["features"] if feature["name"] == flag), None)
