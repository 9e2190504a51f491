"""What an operator accepts with a form of a service's page, as it comes back where not all of it came about. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from werkzeug.datastructures import MultiDict

from app.infra.problems import Problem
from app.reconciliation.accept import MAX_REASON_CHARS
from app.reconciliation.item_digests import UnacceptedJob
from app.web.discrepancies.routes import AcceptResult

MAX_NAMED = 20


@dataclass(frozen=True, slots=True)
class AcceptForm:
    """A press that was refused, or not all of which came about: `said`, and `left` of it. The rest is as it was typed,
    and as it was `seen` (`as_of`, where all was to be accepted)."""

    said: str = ""
    left: Sequence[UnacceptedJob] = ()
    more_left: int = 0
    reason: str = ""
    chosen: frozenset[str] = frozenset()
    seen: str | None = None
    is_all: bool = False
    as_of: str | None = None

    @classmethod
    def of(cls, form: MultiDict[str, str]) -> Self:
        reason, chosen = form.get("reason", "")[:MAX_REASON_CHARS], frozenset(form.getlist("jobIds"))
        is_all = "all" in form
        return cls("", (), 0, reason, chosen, None if is_all else form.get("seen", ""), is_all, form.get("asOf"))

    def refused(self, problem: Problem) -> Self:
        errors: Mapping[str, str] = problem.members.get("errors", {})
        said = "Give a reason: it is kept with what you accept." if "reason" in errors else problem.detail
        return replace(self, said=said)

    def leaving(self, accepted: AcceptResult) -> Self:
        """With what was not accepted."""
        number = len(accepted.closed)
        done = f"{number:,} {'is' if number == 1 else 'are'} accepted" if number else "Nothing was accepted"
        left, still = accepted.left, {one.job_id for one in accepted.left if one.is_open}
        said = f"{done}. {len(left):,} {'is' if len(left) == 1 else 'are'} not what you saw:"
        more = max(0, len(left) - MAX_NAMED)
        return replace(self, said=said, left=left[:MAX_NAMED], more_left=more, chosen=self.chosen & still)
