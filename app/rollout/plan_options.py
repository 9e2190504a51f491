"""What a plan says beside its steps, and what was said about its current step. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from app.infra.clock import parse_utc, utc_text
from app.rollout.evidence import Minimums
from app.rollout.guardrail import TroubleAction
from app.rollout.schedule import InvalidSchedule, QuietHours

ON_TROUBLE: Mapping[TroubleAction, str] = {
    "hold": "hold",
    "step-back": "step back one",
    "start": "go back to the start",
    "off": "switch it off",
}


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """`on_trouble`: what happens in trouble; None is what the guardrail does anyway. `approval`: another person must
    approve each step. `start_at`: UTC text; the first step waits for it. `quiet`: no step is made in these hours."""

    minimums: Minimums = field(default_factory=Minimums)
    on_trouble: TroubleAction | None = None
    approval: bool = False
    start_at: str | None = None
    quiet: QuietHours | None = None

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self:
        """Raises `InvalidSchedule`."""
        quiet, start_at = members.get("quietHours"), members.get("startAt")
        if start_at is not None:
            try:
                start_at = utc_text(parse_utc(start_at))
            except ValueError:
                raise InvalidSchedule("startAt is a time like 2026-12-01T09:00:00Z") from None
        return cls(
            Minimums.of(members.get("minimums") or {}),
            members.get("onTrouble"),
            bool(members.get("approval")),
            start_at,
            None if quiet is None else QuietHours.parse(quiet["from"], quiet["to"], quiet.get("zone", "UTC")),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls.of(json.loads(text))

    def as_json(self) -> dict[str, Any]:
        """Only what is not the default."""
        found = {
            "minimums": self.minimums.as_json() or None,
            "onTrouble": self.on_trouble,
            "approval": self.approval or None,
            "startAt": self.start_at,
            "quietHours": None if self.quiet is None else self.quiet.as_json(),
        }
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class PlanState:
    """`waived_step` goes on without the evidence, `approved_step` was approved, each by a person. `differs_since`:
    since when people have not been where they should be, with `difference` in words. `started_at_percentage`: where
    the flag was before the plan."""

    waived_step: int | None = None
    waived_by: str = ""
    waived_reason: str = ""
    approved_step: int | None = None
    approved_by: str = ""
    differs_since: float | None = None
    difference: str = ""
    started_at: float = 0.0
    started_at_percentage: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """What a newer version may have added is ignored."""
        known = cls.__slots__
        return cls(**{name: value for name, value in json.loads(text).items() if name in known})

    def serialize(self) -> str:
        usual = PlanState()
        return json.dumps({name: value for name, value in asdict(self).items() if value != getattr(usual, name)})

    def with_difference(self, since: float | None, words: str) -> "PlanState":
        return replace(self, differs_since=since, difference=words)


USUAL_OPTIONS = PlanOptions()
