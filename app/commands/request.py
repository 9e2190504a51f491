"""What somebody asks for, checked: one thing, some things, or everything that a filter finds."""

import hashlib
import json
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from app.infra.clock import Moment
from app.sources.protocol import MAX_JOB_ID_CHARS, Action

MAX_TARGETS = 1_000
MAX_REASON_CHARS = 500


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable signs only")
    return text


CommandId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{7,63}$")]
Target = Annotated[str, StringConstraints(min_length=1, max_length=MAX_JOB_ID_CHARS), AfterValidator(_printable)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_printable)]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class WantedFilter(_Model):
    """The jobs of one state; `olderThan`: only those that are in it since before then."""

    state: Word
    queue: Target | None = None
    older_than: Moment | None = None


class Params(_Model):
    """What goes with a command into the audit."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, max_length=MAX_REASON_CHARS)] | None = None


class Asked(_Model):
    """The body of `POST /commands/run`."""

    command_id: CommandId
    action_type: Action
    service: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
    target: Target | None = None
    targets: list[Target] | None = Field(None, min_length=1, max_length=MAX_TARGETS)
    filter: WantedFilter | None = None
    params: Params | None = None
    expected_count: int | None = Field(None, ge=0, le=10_000_000)
    as_of: Moment | None = None

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if self.action_type == "restart-service":
            self._only_itself()
        elif sum(scope is not None for scope in (self.target, self.targets, self.filter)) != 1:
            raise ValueError("expected exactly one of target, targets and filter")
        if self.action_type == "purge-queue" and self.target is None:
            raise ValueError("expected the name of one queue as target")
        if self.targets is not None and len(set(self.targets)) != len(self.targets):
            raise ValueError("expected each of targets once")
        return self

    @model_validator(mode="after")
    def _bound(self) -> Self:
        """Whoever acts on what they cannot list says how much of it they have seen."""
        if (self.filter or self.action_type == "purge-queue") and (self.expected_count is None or self.as_of is None):
            raise ValueError("expected expectedCount and asOf: how many jobs you have seen there, and when")
        if self.targets is not None and self.expected_count not in (None, len(self.targets)):
            raise ValueError(f"expected expectedCount to be the number of targets, {len(self.targets)}")
        return self

    def _only_itself(self) -> None:
        if self.targets or self.filter or self.target not in (None, self.service):
            raise ValueError("expected no target of a restart but the service itself")

    @property
    def text(self) -> str:
        """Canonical: bodies that mean the same are the same text, whatever the order of their fields."""
        return json.dumps(
            self.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=True, ensure_ascii=False
        )

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def words(self) -> str:
        """What it is about, for people."""
        if self.targets is not None:
            return f"{len(self.targets):,} jobs" if len(self.targets) > 1 else self.targets[0]
        if self.filter is not None:
            where = f" in {self.filter.queue}" if self.filter.queue else ""
            return f"{self.filter.state} jobs{where}"
        return self.target or self.service
