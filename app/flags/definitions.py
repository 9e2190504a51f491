"""All declared flags, in one place: who owns each, what it is for, its default, and when it should be gone. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Flag(StrEnum):
    """All declared flags. A name that is not listed here cannot be evaluated or set."""

    SSE_STREAMING = "enable_sse_streaming"


@dataclass(frozen=True, slots=True)
class FlagDefinition:
    """`default` is used before a configuration is loaded, and if Unleash does not have the flag. `remove_by`: the day
    by which the rollout should be over and the flag be taken out of the code."""

    owner: str
    purpose: str
    default: bool
    remove_by: date

    def is_stale(self, today: date) -> bool:
        return today > self.remove_by

    def describe_end(self, today: date) -> str:
        """`remove by 2027-06-30`, `stale: it should have been removed by 2027-06-30`"""
        if self.is_stale(today):
            return f"stale: it should have been removed by {self.remove_by}"
        return f"remove by {self.remove_by}"


DEFINITIONS: Mapping[Flag, FlagDefinition] = {
    Flag.SSE_STREAMING: FlagDefinition(
        owner="product",
        purpose="decides whose pages are updated by a stream; all other pages poll",
        default=False,
        remove_by=date(2027, 6, 30),
    ),
}
DEFAULTS: Mapping[Flag, bool] = {flag: found.default for flag, found in DEFINITIONS.items()}
