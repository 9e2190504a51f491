"""What can be done at a service: operations and their results, selections of jobs, capabilities of a source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from app.sources.source_errors import NotSent

ActionName = Literal["retry-job", "promote-job", "delete-job", "purge-queue", "restart-service"]
ACTION_NAMES: tuple[ActionName, ...] = get_args(ActionName)
# Actions that only the sources have which say so, and why any other one does not.
OPTIONAL_ACTIONS: Mapping[str, str] = {
    "promote-job": "this kind of service cannot move a job to the front of its queue"
}
# What people can view besides counts and ids, if the source supports it.
View = Literal["workers", "stuck", "detail"]
VIEWS: tuple[View, ...] = get_args(View)
# How long a finished job stays visible: for some seconds in the lists, only by looking up its id, or not at all.
FinishedVisible = float | Literal["lookup"] | None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Selects jobs of one state. `older_than`: only jobs that have been in that state since before this time."""

    state: str
    queue: str | None = None
    older_than: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The jobs that match a filter at `as_of`: the total number and the first ids, up to the requested limit."""

    as_of: datetime
    total: int
    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation to execute. `target`: a job id, a queue name, or the service's name for a restart.

    `key` is an idempotency key: it stays the same when the operation is sent again, so that a service that remembers
    keys executes it once. Nothing may be sent after `not_after`. `at_most`: the highest number of jobs that a purge may
    find; with more, it is refused. `instance_id`: the service instance (as in `ServiceSnapshot`) that a restart ends,
    if known.
    """

    action: ActionName
    target: str
    key: str
    queue: str | None = None
    not_after: datetime | None = None
    at_most: int | None = None
    instance_id: str | None = None

    def seconds_left(self, at_most: float) -> float:
        """Return how long to wait for an answer. Raises `NotSent` if the deadline has passed."""
        left = at_most if self.not_after is None else (self.not_after - datetime.now(UTC)).total_seconds()
        if left <= 0:
            raise NotSent("was not contacted: the deadline had passed")
        return min(left, at_most)


@dataclass(frozen=True, slots=True)
class OperationResult:
    """The result of an operation. `refused`: nothing changed, `detail` says why; `absent`: there is no such job.

    `detail` is a sentence for people. `effect` is what changed: the job's `state`, `purged` (a number), the `jobIds`
    that a purge removed, the `instanceId` after a restart, the `workers` that were told to shut down.
    """

    outcome: Literal["done", "refused", "absent"]
    detail: str
    effect: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a source supports. `refusals` says why an action or a view is not supported; all others are.

    Of the `OPTIONAL_ACTIONS` it supports only those in `extras`.
    `dates_figures`: the source's `as_of` is when its figures were taken, which may be long ago. If False, `as_of` is
    only the service's clock.
    """

    finished_visible_for_s: FinishedVisible
    refusals: Mapping[ActionName | View, str] = field(default_factory=dict)
    dates_figures: bool = False
    extras: frozenset[ActionName] = frozenset()

    def why_not(self, what: ActionName | View) -> str | None:
        return self.refusals.get(what) or (None if what in self.extras else OPTIONAL_ACTIONS.get(what))
