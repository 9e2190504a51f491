"""The interface to where rollouts are stored: Beacon's database or an Unleash server."""

from dataclasses import dataclass
from typing import Literal, Protocol

from sqlalchemy.orm import Session

from app.components import components
from app.db import read, write
from app.eventlog.event_types import ChangeCause
from app.flags import document, embedded
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.embedded import ExpectedState, Precondition, StoredRollout
from app.flags.outcome import PLAIN_OUTCOME, RolloutOutcome

ProviderMode = Literal["embedded", "unleash"]
# Why a change was refused, for programs.
RefusalReason = Literal[
    "late",
    "unleash-approval",
    "unleash-away",
    "unleash-bad-token",
    "unleash-forbidden",
    "unleash-missing",
    "unleash-no-token",
    "unleash-partly",
    "unleash-silent",
    "unleash-strategies",
]


@dataclass(frozen=True, slots=True)
class FlagView:
    """The state of a flag as shown to people, with who set it and their `reason`. `why_not`: why Beacon may not change
    it. `link`: where it can be changed. `level_since`: as in `StoredRollout`. `outcome`: the effect of other rules."""

    state: ConfiguredState
    actor: str | None = None
    changed_at: str | None = None
    why_not: str | None = None
    link: str | None = None
    level_since: float = 0.0
    reason: str = ""
    outcome: RolloutOutcome = PLAIN_OUTCOME

    @property
    def sentence(self) -> str:
        """Who is in once all rules are applied."""
        return self.outcome.describe(self.state)


class RolloutConflict(Exception):
    """The flag no longer has the expected state; `now` is the current one. Nothing was changed."""

    def __init__(self, now: FlagView) -> None:
        super().__init__("the flag was changed by somebody else")
        self.now = now


class ChangeRefused(Exception):
    """The change cannot be made here and nothing was changed. `link` is where it can be made."""

    def __init__(self, sentence: str, reason: RefusalReason, link: str | None = None, status: int = 403) -> None:
        super().__init__(sentence)
        self.reason, self.link, self.status = reason, link, status

    title = "Not changed"


class TooLate(ChangeRefused):
    """Beacon was delayed between decision and request, so others may have changed the flag. Nothing was sent."""

    def __init__(self, link: str | None = None) -> None:
        super().__init__("Beacon was delayed and sent nothing. Check the flag, then decide again.", "late", link, 503)


class PartialChange(ChangeRefused):
    """The first stage of a change was made and the second refused; the sentence says both."""

    title = "Changed in part"


class Provider(Protocol):
    mode: ProviderMode

    def load(self) -> dict[str, Rollout] | str | None:
        """The configuration in the database that flags are evaluated from; None if there is none."""
        ...

    def view(self, session: Session, flag: Flag) -> FlagView: ...

    def change(
        self,
        flag: Flag,
        actor: str,
        reason: str,
        percentage: float | None = None,
        enabled: bool | None = None,
        expected: ExpectedState | None = None,
        precondition: Precondition | None = None,
        cause: ChangeCause = "manual",
    ) -> FlagView:
        """Set what is given, keep the rest, and record it. Raises `RolloutConflict`, `ChangeRefused` (`PartialChange`),
        `embedded.InvalidRollout`, and what `precondition` raises."""
        ...

    def describe_problem(self) -> str | None:
        """A problem with the source of the flags that people should know; None if there is none."""
        ...


class EmbeddedProvider:
    """Rollouts in Beacon's own database. Needs an application context."""

    mode: ProviderMode = "embedded"

    def load(self) -> dict[str, Rollout]:
        with read() as session:
            return embedded.load_all_rollouts(session)

    def view(self, session: Session, flag: Flag) -> FlagView:
        return _build_view(*embedded.load_rollout_with_reason(session, flag))

    def change(
        self,
        flag: Flag,
        actor: str,
        reason: str,
        percentage: float | None = None,
        enabled: bool | None = None,
        expected: ExpectedState | None = None,
        precondition: Precondition | None = None,
        cause: ChangeCause = "manual",
    ) -> FlagView:
        try:
            with write() as session:
                embedded.change_rollout(
                    session, flag, actor, reason, percentage, enabled, expected, precondition, cause
                )
                return _build_view(*embedded.load_rollout_with_reason(session, flag))
        except embedded.StoredRolloutConflict as error:
            raise RolloutConflict(_build_view(error.now)) from error

    def describe_problem(self) -> None:
        return None


def current_provider() -> Provider:
    """The provider of the current application."""
    return components().provider


def _build_view(now: StoredRollout, reason: str = "") -> FlagView:
    rollout = document.ConfiguredState(now.rollout.enabled, now.rollout.percentage)
    return FlagView(rollout, now.actor, now.changed_at, level_since=now.level_since, reason=reason)
