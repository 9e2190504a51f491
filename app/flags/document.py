"""What the flags are evaluated from: JSON in the words of Unleash's client API, in either mode. Pure.

In the embedded mode the text is made of the rollouts in our database, in the Unleash mode it is what the server sent.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.infra import json_limits
from app.infra.json_limits import JsonTooLarge

# Of all that an Unleash sends at once: several thousand flags.
MAX_VALUES = 200_000


class Flag(StrEnum):
    """Every flag there is; a name that is not here cannot be asked for or set."""

    SSE_STREAMING = "enable_sse_streaming"


DEFAULTS: Mapping[Flag, bool] = {Flag.SSE_STREAMING: False}
"""What holds before anything is known of a flag, and where Unleash has never heard of it."""

# Equal for somebody who is logged in: `default` takes the user where there is one.
STICKY = ("userId", "default")
_RIGHT = "set it to userId or default there"


@dataclass(frozen=True, slots=True)
class Rollout:
    """Where a flag stands. `enabled` is the kill switch; `percentage` of the users is in while it is on, None where no
    single number says it."""

    enabled: bool = True
    percentage: float | None = 0

    @property
    def level(self) -> float | None:
        """The percentage that holds: none while it is switched off; None where nobody can say."""
        return self.percentage if self.enabled else 0


@dataclass(frozen=True, slots=True)
class Nominal:
    """Where a configuration puts a flag. `percentage` is None where no single number says it, and `why` tells. Unleash
    takes 12.5 too, which is shown as such; Beacon sets whole numbers."""

    enabled: bool
    percentage: float | None
    why: str | None = None

    @property
    def is_unsteady(self) -> bool:
        """Whether its percentage is none of people, which can only be mended in Unleash."""
        return self.why is not None and self.why.startswith("its stickiness")

    @property
    def words(self) -> str:
        """Equal for two configurations if and only if people would be told the same of them."""
        return f"{'on' if self.enabled else 'off'} {self.percentage if self.why is None else self.why}"


class Unreadable(ValueError):
    """The text is no configuration."""


def of_rollouts(rollouts: Mapping[str, Rollout]) -> str:
    features = [_feature(flag, rollouts.get(flag, Rollout())) for flag in Flag]
    return json.dumps({"version": 2, "features": features})


def cut(text: str) -> str:
    """What of a server's answer decides about the declared flags; raises `Unreadable` where it is no configuration.

    An Unleash may have thousands of flags, and what is kept is read again and again.
    """
    try:
        found = json_limits.loads(text.encode(), MAX_VALUES)
        if all(isinstance(feature["name"], str) for feature in found["features"]):
            deciding = _deciding(found)
            kept = {name: found[name] for name in ("version", "meta") if name in found} | {"features": deciding}
            made = json.dumps(kept | ({"segments": _segments(found, deciding)} if "segments" in found else {}))
            json_limits.measure_json(made.encode())  # what is kept is read again at every turn
            return made
    except JsonTooLarge as error:
        raise Unreadable(f"the answer is a list of flags with {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise Unreadable("the answer is no list of flags")


def version(text: str) -> str:
    """Changes whenever anything does that decides about a declared flag, and with nothing else."""
    found = json.loads(text)
    deciding = _deciding(found)
    canonical = json.dumps([[_what_decides(each) for each in deciding], _segments(found, deciding)], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def is_timed(text: str) -> bool:
    """Whether the answers may change by themselves, because a constraint looks at the clock; rather once too often."""
    return any(f'"{word}"' in text for word in ("currentTime", "DATE_AFTER", "DATE_BEFORE"))


def revision(text: str) -> int:
    """Unleash's own count of changes; 0 where it gives none."""
    found = json.loads(text).get("meta")
    number = found.get("revisionId") if isinstance(found, dict) else None
    return number if isinstance(number, int) else 0


def project(text: str, flag: Flag) -> str | None:
    """The project of Unleash in which the flag lives."""
    feature = _find(json.loads(text), flag)
    return None if feature is None else str(feature.get("project") or "default")


def nominal(text: str, flag: Flag) -> Nominal:
    feature = _find(json.loads(text), flag)
    if feature is None:
        return Nominal(enabled=DEFAULTS[flag], percentage=None, why="Unleash has no flag of this name")
    enabled, strategies = bool(feature.get("enabled")), feature.get("strategies") or []
    percentage, why = share(strategies)
    return Nominal(enabled, percentage, why)


def parse_percentage(raw: object) -> float | None:
    """A percentage as Unleash writes it: an int where it is a whole number, None where it is none."""
    try:
        found = float(str(raw))
    except ValueError:
        return None
    if not 0 <= found <= 100:
        return None
    return int(found) if found.is_integer() else found


def share(strategies: list[dict[str, Any]]) -> tuple[float | None, str | None]:
    """The one percentage that these strategies mean, or why there is none."""
    if len(strategies) != 1:
        number = len(strategies) or "no"
        return None, f"it has {number} strategies; Beacon sets the percentage of exactly one gradual rollout"
    (strategy,) = strategies
    if strategy.get("name") != "flexibleRollout":
        return None, f"its strategy is {strategy.get('name')}; Beacon sets the percentage of a gradual rollout"
    if strategy.get("disabled"):
        return None, "its strategy is disabled in Unleash"
    try:
        parameters = strategy["parameters"]
        percentage, stickiness = parse_percentage(parameters["rollout"]), parameters.get("stickiness", "userId")
    except (KeyError, TypeError, AttributeError):
        percentage = None
    if percentage is None:
        return None, "its gradual rollout has no percentage"
    if stickiness == "random":
        return None, f"its stickiness is random, so nobody stays in or out; {_RIGHT}"
    if stickiness not in STICKY:
        return None, f"its stickiness is {stickiness}, which Beacon does not have, so nobody is in; {_RIGHT}"
    return percentage, None


def other_group(text: str, flag: Flag) -> str | None:
    """What makes other buckets than the flag's name does: steady people, and others than in the embedded mode."""
    feature = _find(json.loads(text), flag)
    strategies = [] if feature is None else feature.get("strategies") or []
    groups = [(strategy.get("parameters") or {}).get("groupId", flag.value) for strategy in strategies]
    return next((str(group) for group in groups if group != flag.value), None)


def put_at(text: str, flag: Flag, percentage: float | None, enabled: bool) -> str:
    """The same configuration with the flag moved: what would hold if somebody set it so. None keeps its percentages."""
    found = json.loads(text)
    feature = _find(found, flag)
    if feature is not None:
        feature["enabled"] = enabled
        for strategy in [] if percentage is None else feature.get("strategies") or []:
            if strategy.get("name") == "flexibleRollout":
                strategy["parameters"] = {**strategy.get("parameters", {}), "rollout": f"{percentage:g}"}
    return json.dumps(found)


def _feature(flag: Flag, rollout: Rollout) -> dict[str, Any]:
    """`groupId` and `stickiness` make the buckets: as Unleash fills them in for a new gradual rollout."""
    parameters = {"rollout": f"{rollout.percentage or 0:g}", "stickiness": "userId", "groupId": flag.value}
    strategy = {"name": "flexibleRollout", "parameters": parameters, "constraints": []}
    return {"name": flag.value, "type": "release", "enabled": rollout.enabled, "strategies": [strategy]}


def _deciding(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The declared flags and those that they depend on, and so on; in a steady order."""
    by_name = {str(feature["name"]): feature for feature in found["features"]}
    wanted, asked = {flag.value for flag in Flag}, [flag.value for flag in Flag]
    while asked:
        feature = by_name.get(asked.pop()) or {}
        new = {str(parent["feature"]) for parent in feature.get("dependencies") or []} - wanted
        wanted |= new
        asked += new
    return [by_name[name] for name in sorted(wanted & by_name.keys())]


def _what_decides(feature: dict[str, Any]) -> dict[str, Any]:
    """The variants too where others may depend on which of them it is."""
    names = ["name", "enabled", "strategies", "dependencies"]
    return {name: feature.get(name) for name in names + (["variants"] if feature["name"] not in set(Flag) else [])}


def _segments(found: dict[str, Any], features: list[dict[str, Any]]) -> list[Any]:
    """Those that they use, as they were sent: an Unleash sends them apart, or as constraints of the strategies."""
    strategies = [strategy for feature in features for strategy in feature.get("strategies") or []]
    used = {number for strategy in strategies for number in strategy.get("segments") or []}
    return [segment for segment in found.get("segments") or [] if segment["id"] in used]


def _find(found: dict[str, Any], flag: Flag) -> dict[str, Any] | None:
    return next((feature for feature in found["features"] if feature["name"] == flag), None)
