"""Accepts differences of a service, from JSON or from a form, which is redisplayed if not all were accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from werkzeug.datastructures import MultiDict

from app.db import read, write
from app.infra.clock import Moment
from app.infra.problems import Problem, invalid_input
from app.reconciliation import row_writer
from app.reconciliation.accept import MAX_REASON_CHARS, accept_items
from app.reconciliation.item_digests import UnacceptedJob, find_unaccepted
from app.web.auth import actor

MAX_IDS = 10_000
MAX_LISTED_ITEMS = 20


class AcceptRequest(BaseModel):
    """`jobIds` or `all`, and a reason.

    Items that opened after `asOf` stay open, and so do `jobIds` that changed since they were shown: `seen` holds the
    digests from the page's form.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_ids: list[Annotated[str, StringConstraints(max_length=1_000)]] | None = Field(
        None, alias="jobIds", min_length=1, max_length=MAX_IDS
    )
    all: bool = False
    as_of: Moment | None = Field(None, alias="asOf")
    seen: Annotated[str, StringConstraints(max_length=MAX_IDS * 13)] | None = None
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_CHARS)]

    @model_validator(mode="after")
    def _check_ids_or_all(self) -> Self:
        if (self.job_ids is None) == (not self.all):
            raise ValueError("expected either jobIds, or all")
        return self


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """The ids that were `closed`, and the chosen ones that were `left` open or were not open."""

    closed: Sequence[str]
    left: Sequence[UnacceptedJob] = ()


@dataclass(frozen=True, slots=True)
class AcceptForm:
    """A submission that was rejected or accepted in part: `message` says why, `not_accepted` lists what is left. The
    other fields are as submitted: `seen`, or `as_of` if everything was to be accepted."""

    message: str = ""
    not_accepted: Sequence[UnacceptedJob] = ()
    more_not_accepted: int = 0
    reason: str = ""
    chosen: frozenset[str] = frozenset()
    seen: str | None = None
    is_all: bool = False
    as_of: str | None = None

    @classmethod
    def parse(cls, form: MultiDict[str, str]) -> Self:
        reason, chosen = form.get("reason", "")[:MAX_REASON_CHARS], frozenset(form.getlist("jobIds"))
        is_all = "all" in form
        return cls("", (), 0, reason, chosen, None if is_all else form.get("seen", ""), is_all, form.get("asOf"))

    def with_error(self, problem: Problem) -> Self:
        errors: Mapping[str, str] = problem.members.get("errors", {})
        message = "Give a reason. It is kept with the accepted differences." if "reason" in errors else problem.detail
        return replace(self, message=message)

    def with_not_accepted(self, accepted: AcceptResult) -> Self:
        """The form with the differences that were not accepted."""
        number = len(accepted.closed)
        done = f"{number:,} accepted" if number else "Nothing was accepted"
        left, still = accepted.left, {one.job_id for one in accepted.left if one.is_open}
        changed = "has changed since you saw it" if len(left) == 1 else "have changed since you saw them"
        message = f"{done}. {len(left):,} {changed}:"
        more = max(0, len(left) - MAX_LISTED_ITEMS)
        return replace(
            self,
            message=message,
            not_accepted=left[:MAX_LISTED_ITEMS],
            more_not_accepted=more,
            chosen=self.chosen & still,
        )


def accept_request(service_id: str, given: Any) -> AcceptResult:
    """Validate `given` as an `AcceptRequest` and accept its items for the actor. Raises a 400 or 404 `Problem`."""
    try:
        wanted = AcceptRequest.model_validate(given)
    except ValidationError as error:
        raise invalid_input(error) from error
    job_ids = None if wanted.job_ids is None else set(wanted.job_ids)
    seen = None if wanted.seen is None or job_ids is None else set(wanted.seen.split())
    try:
        with write() as session:
            closed = accept_items(session, service_id, job_ids, actor().name, wanted.reason, wanted.as_of, seen)
    except row_writer.ServiceRemoved as error:
        raise Problem(404, "No such service", "Beacon watches no service with this id.") from error
    if job_ids is None:
        return AcceptResult(closed)
    with read() as session:
        return AcceptResult(closed, find_unaccepted(session, service_id, job_ids, closed))


def read_accept_form(form: MultiDict[str, str]) -> dict[str, Any]:
    """The posted form as the fields of an `AcceptRequest`. Raises a 400 `Problem` if nothing was chosen."""
    job_ids = form.getlist("jobIds")
    if not job_ids and "all" not in form:
        raise Problem(
            400, "No items selected", "Select at least one job and try again.", errors={"jobIds": "none is selected"}
        )
    chosen = {name: form[name] for name in ("all", "asOf", "seen") if name in form}
    return {"reason": form.get("reason", ""), **({"jobIds": job_ids} if job_ids else {}), **chosen}
