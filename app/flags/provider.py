"""Where the rollout is kept: in our database, or in a real Unleash. The same questions and changes for both."""

from dataclasses import dataclass
from typing import Literal, Protocol

from flask import current_app
from sqlalchemy.orm import Session

from app.db import read, write
from app.flags import document, embedded
from app.flags.document import Flag, Nominal, Rollout
from app.flags.embedded import Expected, Standing, Within
from app.flags.outcome import PLAIN, Outcome

Mode = Literal["embedded", "unleash"]


@dataclass(frozen=True, slots=True)
class View:
    """Where a flag stands, who put it there and the `reason` that they gave, as people are told. `why_not`: why Beacon
    may not change it; `link`: where it can be; `level_since`: as in `Standing`; `outcome`: what other rules say."""

    nominal: Nominal
    actor: str | None = None
    changed_at: str | None = None
    why_not: str | None = None
    link: str | None = None
    level_since: float = 0.0
    reason: str = ""
    outcome: Outcome = PLAIN

    @property
    def sentence(self) -> str:
        """Who is in, once every rule has had its say."""
        return self.outcome.describe(self.nominal)


class Moved(Exception):
    """The flag no longer stands where it was seen, but at `now`; nothing was changed."""

    def __init__(self, now: View) -> None:
        super().__init__("changed meanwhile")
        self.now = now


class Refused(Exception):
    """The change cannot be made, and nothing was changed; `link` leads to where it can."""

    def __init__(self, sentence: str, reason: str, link: str | None = None, status: int = 403) -> None:
        super().__init__(sentence)
        self.reason, self.link, self.status = reason, link, status

    title = "Not changed"


class Late(Refused):
    """Beacon itself was held up between deciding and asking: it must look again, as others may have decided since."""

    def __init__(self, link: str | None = None) -> None:
        super().__init__("Beacon was held up and did not ask: look again, then decide.", "late", link, 503)


class Partly(Refused):
    """The first half of a change was made, and the other refused; the sentence says both."""

    title = "Changed in part"


class Provider(Protocol):
    mode: Mode

    def load(self) -> dict[str, Rollout] | str | None:
        """What the flags are evaluated from, as the database has it; None where it has nothing."""
        ...

    def view(self, session: Session, flag: Flag) -> View: ...

    def change(
        self,
        flag: Flag,
        actor: str,
        reason: str,
        percentage: float | None = None,
        enabled: bool | None = None,
        expected: Expected | None = None,
        within: Within | None = None,
    ) -> View:
        """Set what is given and keep the rest; audited. Raises `Moved`, `Refused` (`Partly`), `store.BadRollout`,
        and what `within` raises."""
        ...

    def note(self) -> str | None:
        """What people should know about where the flags come from; None where all is well."""
        ...


class Embedded:
    """The rollout in our own database; must be asked inside the application's context."""

    mode: Mode = "embedded"

    def load(self) -> dict[str, Rollout]:
        with read() as session:
            return embedded.every(session)

    def view(self, session: Session, flag: Flag) -> View:
        return _view(*embedded.reasoned(session, flag))

    def change(
        self,
        flag: Flag,
        actor: str,
        reason: str,
        percentage: float | None = None,
        enabled: bool | None = None,
        expected: Expected | None = None,
        within: Within | None = None,
    ) -> View:
        try:
            with write() as session:
                embedded.change(session, flag, actor, reason, percentage, enabled, expected, within)
                return _view(*embedded.reasoned(session, flag))
        except embedded.Moved as error:
            raise Moved(_view(error.now)) from error

    def note(self) -> None:
        return None


def provider() -> Provider:
    """Of the current application."""
    found: Provider = current_app.extensions["beacon_rollout"]
    return found


def _view(now: Standing, reason: str = "") -> View:
    rollout = document.Nominal(now.rollout.enabled, now.rollout.percentage)
    return View(rollout, now.actor, now.changed_at, level_since=now.level_since, reason=reason)
