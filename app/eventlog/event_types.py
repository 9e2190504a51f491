"""A pydantic model for every event type that Beacon knows; the wire's names are camelCase.

A payload is the whole state of its subject, so that seeing it twice, or only the last of many, is harmless.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.infra.clock import Moment

# Lower-case words of letters, digits and `_`, joined by dots.
EVENT_TYPE_PATTERN = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)*")
MAX_TYPE_CHARS = 100
MAX_PAYLOAD_BYTES = 64 * 1024
# Objects and lists in each other: far from where encoding would exhaust the stack of some reader.
MAX_DEPTH = 64
MAX_BODY_BYTES = 8 * 1024 * 1024

# Types that only Beacon itself may append: a publisher that could would be able to forge the truth.
RESERVED_PREFIXES = ("reconciliation.", "command.", "flag.", "notification.", "flash.", "control.")

Status = Literal["verified", "stale", "discrepancy"]
Severity = Literal["info", "warning", "critical"]
FindingKind = Literal[
    "missing",
    "extra",
    "unaccounted",
    "lost",
    "dangling",
    "duplicate",
    "orphaned",
    "overdue",
    "no-worker",
    "count-mismatch",
    "unreadable",
    "flapping",
    "rewound",
]


# Of many entries the first that is wrong ends the reading: whoever may write a row must not fill a worker with errors.
StrictNames = Annotated[list[str], Field(fail_fast=True)]
# Keys of a payload of a known type, which has some ten.
MAX_PAYLOAD_FIELDS = 100


class Payload(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready, camelCase, without fields that were not given."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Finding(Payload):
    """Something about named jobs that a person should know. `since`: when it was first seen.

    `count`, of `flapping`: how often the state came and went until this was told; of the others how many jobs there
    are, where not all of them are named. `note`: more of it in words, such as which entry cannot be read. `queues`, of
    `no-worker`: those that no worker serves, the ones that came last first.
    """

    kind: FindingKind
    job_ids: StrictNames
    since: Moment
    count: int | None = Field(None, ge=1)
    note: str | None = None
    queues: StrictNames | None = None


class DiscrepancyDetails(Payload):
    """Both sides of a difference: jobs that Beacon knows, jobs that the service reports, ids that are missing."""

    expected: int = Field(ge=0)
    actual: int = Field(ge=0)
    missing_job_ids: StrictNames


class LastDiscrepancy(Payload):
    """The newest discrepancy of a service, open or closed."""

    at: Moment
    missing_job_ids: StrictNames
    closed_at: Moment | None = None


class LastFlapping(Payload):
    """When the service flapped last, and how often its state came and went. `calm_at`: since when it no longer does."""

    since: Moment
    count: int = Field(ge=1)
    calm_at: Moment | None = None


class ReconciliationUpdate(Payload):
    """A service's state after a check that changed something. Stale: `counts` is empty, `latency_ms` the time waited,
    `findings` are those of its last answer, `silent_since` when that came, where it is silence that makes it stale.

    `as_of`: of when the figures are, by the service's own word. `reason` says in words why a service is stale;
    `previous_status` what it was before this change. `counts_only`: the states of which there are more jobs than are
    listed, so that only their number is known; `counts_only_queues`: in these queues, where those of others are listed.
    `not_told`: states whose number nobody knows, with the reason; `counts_as_of`: those whose number is older.
    """

    event_id: str
    service: str
    status: Status
    counts: dict[str, int]
    checksum: str
    latency_ms: int = Field(ge=0)
    checked_at: Moment
    as_of: Moment | None = None
    discrepancy_details: DiscrepancyDetails | None = None
    findings: Annotated[list[Finding], Field(fail_fast=True)] | None = None
    last_verified_at: Moment | None = None
    last_discrepancy: LastDiscrepancy | None = None
    last_flapping: LastFlapping | None = None
    counts_only: list[str] | None = None
    counts_only_queues: list[str] | None = None
    not_told: dict[str, str] | None = None
    counts_as_of: dict[str, Moment] | None = None
    previous_status: Status | None = None
    reason: str | None = None
    silent_since: Moment | None = None


class VerifiedCheck(Payload):
    """One that changed nothing. `as_of`: of when its figures were, by the service's own word."""

    checked_at: Moment
    latency_ms: int = Field(ge=0)
    as_of: Moment | None = None


class ReconciliationVerified(Payload):
    """The checks of the last second that changed nothing, by service."""

    services: dict[str, VerifiedCheck]


class CommandProgress(Payload):
    """Of how many things a command has acted on how many, and how many of those failed."""

    total: int = Field(ge=0)
    done: int = Field(ge=0)
    failed: int = Field(ge=0)


class CommandStatus(Payload):
    command_id: str
    service: str
    phase: Literal["queued", "running", "success", "error", "timeout", "unknown"]
    logs: StrictNames
    verified: bool | None = None
    action_type: str | None = None
    target: str | None = None
    actor: str | None = None
    progress: CommandProgress | None = None


class NotificationCreated(Payload):
    id: str
    severity: Severity
    title: str
    body: str
    link: str | None = None


class NotificationChanged(Payload):
    """Fetch your panel again."""


class FlashMessage(Payload):
    id: str
    severity: Severity
    text: str
    actor: str
    expires_at: Moment


def _drop_trailing_zero(number: float) -> float:
    """50 and not 50.0: most percentages are whole numbers, and everybody reads them as such."""
    return int(number) if number == int(number) else number


class FlagChanged(Payload):
    flag: str
    enabled: bool
    # Left out where no single number says it, as with several strategies in Unleash.
    percentage: Annotated[float, Field(ge=0, le=100), PlainSerializer(_drop_trailing_zero, return_type=Any)] | None = (
        None
    )
    actor: str
    reason: str
    # Who is in, where switch and percentage alone do not say it.
    outcome: str | None = None


class JobEvent(Payload):
    """What a service publishes about one of its jobs."""

    service: str = Field(min_length=1)
    job_id: str = Field(min_length=1)
    queue: str | None = None
    at: Moment | None = None


class SessionEnded(Payload):
    """Control: every stream of this login session ends."""

    session: str


class UserChanged(Payload):
    """Control: every stream of this user is looked at again; it ends where they may no longer see it."""

    user: str


class TokenRevoked(Payload):
    """Control: every stream opened with this API token ends."""

    token: int


PAYLOAD_MODELS: dict[str, type[Payload]] = {
    "reconciliation.update": ReconciliationUpdate,
    "reconciliation.verified": ReconciliationVerified,
    "command.status": CommandStatus,
    "notification.created": NotificationCreated,
    "notification.changed": NotificationChanged,
    "flash.message": FlashMessage,
    "flag.changed": FlagChanged,
    "job.queued": JobEvent,
    "job.started": JobEvent,
    "job.finished": JobEvent,
    "job.failed": JobEvent,
    "control.session_ended": SessionEnded,
    "control.user_changed": UserChanged,
    "control.token_revoked": TokenRevoked,
}


def validate_payload(model: type[Payload], data: Mapping[str, Any]) -> Payload:
    """Raises `ValidationError`, with few errors whatever `data` is."""
    if len(data) > MAX_PAYLOAD_FIELDS:
        fault = PydanticCustomError("too_many_fields", "expected at most {most} fields", {"most": MAX_PAYLOAD_FIELDS})
        raise ValidationError.from_exception_data(model.__name__, [InitErrorDetails(type=fault, loc=(), input=None)])
    return model.model_validate(data)


def is_valid_type(name: str) -> bool:
    return len(name) <= MAX_TYPE_CHARS and EVENT_TYPE_PATTERN.fullmatch(name) is not None


def is_too_deep(data: Any, text: str) -> bool:
    """Whether `data`, which is `text` as JSON, is nested deeper than `MAX_DEPTH`."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
    return any(isinstance(node, dict | list) for node in level)


def _children(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def is_reserved_type(name: str) -> bool:
    """True for a type that publishers may not use."""
    return name.startswith(RESERVED_PREFIXES)
