"""The validated body of a command request: one target, several, or everything that a filter matches."""

import hashlib
import json
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from app.commands.actions import ACTIONS, Action
from app.infra.clock import Moment
from app.sources.protocol import FAILED_STATES, MAX_JOB_ID_CHARS, ActionName

MAX_TARGETS = 1_000
MAX_REASON_CHARS = 500


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters only")
    return text


CommandId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{7,63}$")]
TargetId = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_JOB_ID_CHARS), AfterValidator(_check_printable)
]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_check_printable)]


class _RequestModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class TargetFilter(_RequestModel):
    """The jobs in one state; with `olderThan` only those that entered it before then, with `group` only those that
    failed with this cause."""

    state: ShortText
    queue: TargetId | None = None
    older_than: Moment | None = None
    group: ShortText | None = None

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        if self.group is not None and (self.queue or self.older_than or self.state.lower() not in FAILED_STATES):
            raise ValueError("expected a group of failed jobs with neither queue nor olderThan")
        return self


class CommandParams(_RequestModel):
    """Stored with the command in the audit."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_REASON_CHARS)] | None = None


class CommandRequest(_RequestModel):
    """The body of `POST /commands/run`."""

    command_id: CommandId
    action_type: ActionName
    service: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_check_printable)]
    target: TargetId | None = None
    targets: list[TargetId] | None = Field(None, min_length=1, max_length=MAX_TARGETS)
    filter: TargetFilter | None = None
    params: CommandParams | None = None
    expected_count: int | None = Field(None, ge=0, le=10_000_000)
    as_of: Moment | None = None

    @model_validator(mode="after")
    def _check_one_scope(self) -> Self:
        if self.action.scope == "service":
            self._check_restart_target()
        elif sum(scope is not None for scope in (self.target, self.targets, self.filter)) != 1:
            raise ValueError("expected exactly one of target, targets and filter")
        if self.action.takes_one and self.target is None:
            raise ValueError(f"expected the name of one {self.action.scope} as target")
        if self.targets is not None and len(set(self.targets)) != len(self.targets):
            raise ValueError("expected targets without duplicates")
        return self

    @model_validator(mode="after")
    def _check_expected_count(self) -> Self:
        """A command on jobs that it does not list must say how many its requester saw, and when."""
        if (self.filter or self.action.scope == "queue") and (self.expected_count is None or self.as_of is None):
            raise ValueError("expected expectedCount and asOf: how many jobs you saw, and when")
        if self.targets is not None and self.expected_count not in (None, len(self.targets)):
            raise ValueError(f"expected expectedCount to be the number of targets, {len(self.targets)}")
        return self

    def _check_restart_target(self) -> None:
        if self.targets or self.filter or self.target not in (None, self.service):
            raise ValueError("expected no target for a restart other than the service itself")

    @property
    def action(self) -> Action:
        return ACTIONS[self.action_type]

    @property
    def canonical_json(self) -> str:
        """Equal requests have equal text, regardless of the order of their fields."""
        return json.dumps(
            self.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=True, ensure_ascii=False
        )

    @property
    def body_hash(self) -> str:
        return hashlib.sha256(self.canonical_json.encode()).hexdigest()

    @property
    def summary(self) -> str:
        """The command's target, as text for people."""
        if self.targets is not None:
            return f"{len(self.targets):,} jobs" if len(self.targets) > 1 else self.targets[0]
        if self.filter is not None and self.filter.group is not None:
            return f"{self.filter.state} jobs with one cause"
        if self.filter is not None:
            where = f" in {self.filter.queue}" if self.filter.queue else ""
            return f"{self.filter.state} jobs{where}"
        return self.target or self.service
