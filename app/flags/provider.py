"""Where the rollout is kept: in our database, or in a real Unleash. The same questions and changes for both."""

from dataclasses import dataclass
from typing import Literal, Protocol

from flask import current_app
from sqlalchemy.orm import Session

from app.db import read, write
from app.flags import document, embedded
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.embedded import ExpectedState, Precondition, StoredRollout
from app.flags.outcome import PLAIN_OUTCOME, RolloutOutcome

ProviderMode = Literal["embedded", "unleash"]


@dataclass(frozen=True, slots=True)
class FlagView:
    """Where a flag stands, who put it there and the `reason` that they gave, as people are told. `why_not`: why Beacon
    may not change it; `link`: where it can be; `level_since`: as in `Standing`; `outcome`: what other rules say."""

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
        """Who is in, once every rule has had its say."""
        return self.outcome.describe(self.state)


class RolloutConflict(Exception):
    """The flag no longer stands where it was seen, but at `now`; nothing was changed."""

    def __init__(self, now: FlagView) -> None:
        super().__init__("changed meanwhile")
        self.now = now


class ChangeRefused(Exception):
    """The change cannot be made, and nothing was changed; `link` leads to where it can."""

    def __init__(self, sentence: str, reason: str, link: str | None = None, status: int = 403) -> None:
        super().__init__(sentence)
        self.reason, self.link, self.status = reason, link, status

    title = "Not changed"


class TooLate(ChangeRefused):
    """Beacon itself was held up between deciding and asking: it must look again, as others may have decided since."""

    def __init__(self, link: str | None = None) -> None:
        super().__init__("Beacon was held up and did not ask: look again, then decide.", "late", link, 503)


class PartialChange(ChangeRefused):
    """The first half of a change was made, and the other refused; the sentence says both."""

    title = "Changed in part"


class Provider(Protocol):
    mode: ProviderMode

    def load(self) -> dict[str, Rollout] | str | None:
        """What the flags are evaluated from, as the database has it; None where it has nothing."""
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
    ) -> FlagView:
        """Set what is given and keep the rest; audited. Raises `Moved`, `Refused` (`Partly`), `store.BadRollout`,
        and what `precondition` raises."""
        ...

    def describe_problem(self) -> str | None:
        """What people should know about where the flags come from; None where all is well."""
        ...


class EmbeddedProvider:
    """The rollout in our own database; must be asked inside the application's context."""

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
    ) -> FlagView:
        try:
            with write() as session:
                embedded.change_rollout(session, flag, actor, reason, percentage, enabled, expected, precondition)
                return _build_view(*embedded.load_rollout_with_reason(session, flag))
        except embedded.StoredRolloutConflict as error:
            raise RolloutConflict(_build_view(error.now)) from error

    def describe_problem(self) -> None:
        return None


def current_provider() -> Provider:
    """Of the current application."""
    found: Provider = current_app.extensions["beacon_rollout"]
    return found


def _build_view(now: StoredRollout, reason: str = "") -> FlagView:
    rollout = document.ConfiguredState(now.rollout.enabled, now.rollout.percentage)
    return FlagView(rollout, now.actor, now.changed_at, level_since=now.level_since, reason=reason)
