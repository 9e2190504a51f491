"""The form that accepts differences of a service, redisplayed if not all were accepted. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from werkzeug.datastructures import MultiDict

from app.infra.problems import Problem
from app.reconciliation.accept import MAX_REASON_CHARS
from app.reconciliation.item_digests import UnacceptedJob
from app.web.discrepancies.routes import AcceptResult

MAX_LISTED_ITEMS = 20


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
