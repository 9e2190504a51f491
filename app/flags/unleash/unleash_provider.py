"""The rollout in a real Unleash: seen through what its workers keep, changed through its Admin API."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import NoReturn

from flask import Flask
from sqlalchemy.orm import Session

from app.config import Settings
from app.db import db, read
from app.flags import document, embedded
from app.flags.document import Flag, Nominal, Rollout
from app.flags.embedded import Expected, Within
from app.flags.evaluation import Flags
from app.flags.outcome import Outcome
from app.flags.provider import Mode, Moved, Partly, Refused, View
from app.flags.unleash import admin_api, pending_changes, snapshot_store, unleash_changes
from app.flags.unleash.admin_api import Admin, Look, TestFailed
from app.flags.unleash.feed_poller import Feed
from app.flags.unleash.healthcheck import Examined, examine
from app.flags.unleash.unleash_changes import FlagChange
from app.infra.clock import utc_text

# What was decided in a transaction is asked for so soon after it, or not at all: whoever was frozen in between knows
# nothing of what others did meanwhile.
LATE_S = 2.0


class Unleash:
    """One worker's. `feed` is its part of the live half.

    `on_ahead` is called after a load that went ahead of the log, for whoever acts on the log's word alone.
    """

    mode: Mode = "unleash"

    def __init__(self, app: Flask, settings: Settings, flags: Flags, on_ahead: Callable[[], None]) -> None:
        self._app, self._settings, self._flags, self._on_ahead = app, settings, flags, on_ahead
        self._admin = Admin(settings.unleash_url, settings.unleash_admin_token, settings.unleash_environment)
        self._keeper = snapshot_store.Keeper(self._author)
        self._keeping = threading.Lock()
        # Since when this worker has held a change that Unleash has not sent yet (monotonic); None where it holds none.
        self._ahead_since: float | None = None
        self.feed = Feed(settings.unleash_url, settings.unleash_api_token, self._keep, self._settle)

    def examine(self) -> Examined:
        """For the doctor: ask once and keep nothing."""
        return examine(self._settings, self._admin, lambda: self.load() is not None)

    @property
    def can_change(self) -> bool:
        return self._admin.is_possible

    def load(self) -> str | None:
        with read() as session:
            text = snapshot_store.in_force(session)
            is_ahead = text != snapshot_store.newest(session)
        self._ahead_since = (self._ahead_since or time.monotonic()) if is_ahead else None
        return text

    def note(self) -> str | None:
        """Asked by health checks too: it touches neither Unleash nor the database."""
        failure, since = self.feed.failure, self.feed.failing_since
        if failure is None:
            return None
        applies = "declared defaults apply" if self._flags.held is None else "the last known flags apply"
        if self._ahead_since is not None:
            applies += ", with what Beacon has changed since"
        return f"Unleash: {failure} (since {since}); {applies}"

    def view(self, session: Session, flag: Flag) -> View:
        text = snapshot_store.in_force(
            session
        )  # with the caller's connection: many may ask at once, and connections are few
        project = self._project(text, flag)
        link = self._admin.link(project, flag)
        if text is None:
            why = "nothing came from Unleash yet"
            return View(Nominal(document.DEFAULTS[flag], None, why), why_not=why, link=link)
        nominal, (standing, reason) = document.nominal(text, flag), embedded.reasoned(session, flag)
        actor, at, since = standing.actor, standing.changed_at, standing.level_since
        ours = pending_changes.pending(session, flag)
        if ours is not None:  # on its way back to us, and in force already
            actor, at, reason = ours.actor, _text(ours.at), ours.reason
            since = since if Rollout(ours.enabled, ours.percentage).level == standing.rollout.level else ours.at
        why_not = nominal.why
        if not self._admin.is_possible:
            why_not = "Beacon has no admin token of Unleash (BEACON_UNLEASH_ADMIN_TOKEN): change it there."
        return View(nominal, actor, at, why_not, link, since, reason, Outcome.of(text, flag))

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
        embedded.check(reason, percentage)
        db.session.remove()  # what follows waits for Unleash, and must not hold a connection
        project = self._checked_project(flag, lets_in=bool(percentage) or enabled is True)
        look = self._admin.look(project, flag)
        before = self._standing(look, flag, project, needs_percentage=percentage is not None)
        if expected is not None:
            with read() as session:
                now = self.view(session, flag)
            if not expected.is_met_by(before, now.changed_at):
                is_back = expected.is_met_by(before, expected.changed_at)  # where it was, and not since then
                raise Moved(now if is_back else self._moved(flag, look, project))
        after = Rollout(
            before.enabled if enabled is None else enabled, before.percentage if percentage is None else percentage
        )
        self._make(project, look, FlagChange(flag, actor, reason, before, after), within)
        shown = look.percentage if percentage is None else percentage
        nominal = Nominal(after.enabled, shown, None if shown is not None else look.why_not)
        link = self._admin.link(project, flag)
        return View(nominal, actor, utc_text(), link=link, reason=reason, outcome=self._outcome(flag))

    def _make(self, project: str, look: Look, wanted: FlagChange, within: Within | None) -> None:
        """Said beforehand, so that whoever sees it arrive knows whose it is; audited as it came out, by whoever comes
        first: this, or the worker that sees it arrive."""
        change, decided = unleash_changes.begin(wanted, within)
        done = 0
        try:
            for was, stage in pairwise([wanted.before, *wanted.stages]):
                not_after = decided + LATE_S + done * admin_api.DEADLINE_S  # those before it may take their time
                self._apply(project, wanted.flag, look, was, stage, not_after)
                done += 1
        except (Refused, TestFailed) as error:
            reached = unleash_changes.fail(wanted, change, done, _why(error))
            self._answer(project, wanted.flag, error, wanted.before, reached)
        unleash_changes.finish(wanted, change)

    def _answer(
        self, project: str, flag: Flag, error: Refused | TestFailed, before: Rollout, reached: Rollout
    ) -> NoReturn:
        """Raises what the changer is told of a change that failed once it had reached this."""
        link = self._admin.link(project, flag)
        if reached != before:
            did = "Switched off" if before.enabled else f"Set to {reached.percentage} % and still off"
            status = error.status if isinstance(error, Refused) else 409
            raise Partly(f"{did}. The rest is not: {_why(error)}", "unleash-partly", link, status) from error
        if isinstance(error, Refused):
            raise error
        raise Moved(self._moved(flag, self._admin.look(project, flag), project)) from error

    def _apply(self, project: str, flag: Flag, look: Look, before: Rollout, after: Rollout, not_after: float) -> None:
        """One stage."""
        if before.enabled != after.enabled:
            self._admin.switch(project, flag, not_after, on=after.enabled)
        else:
            self._admin.set_percentage(project, flag, look, after.percentage or 0, not_after)

    def _standing(self, look: Look, flag: Flag, project: str, *, needs_percentage: bool) -> Rollout:
        """The kill switch works whatever the strategies are."""
        if look.percentage is not None:
            return Rollout(look.enabled, look.percentage)
        if needs_percentage:
            link = self._admin.link(project, flag)
            raise Refused(f"Beacon may not set it: {look.why_not}.", "unleash-strategies", link, 409)
        return Rollout(look.enabled, None)

    def _moved(self, flag: Flag, look: Look, project: str) -> View:
        who = self._admin.last_change(flag)
        nominal = Nominal(look.enabled, look.percentage, look.why_not)
        name, at = who or (None, None)
        link = self._admin.link(project, flag)
        return View(nominal, name, at, look.why_not, link, outcome=self._outcome(flag))

    def _outcome(self, flag: Flag) -> Outcome:
        with read() as session:
            return snapshot_store.outcome(session, flag)

    def _author(self, flag: Flag) -> snapshot_store.Author:
        who = self._admin.last_change(flag) if self._admin.is_possible else None
        return snapshot_store.Author("Unleash") if who is None else snapshot_store.Author(f"{who[0]} (Unleash)", who[1])

    def _keep(self, text: str) -> bool:
        """A kill switch must not wait for a database that is away: this worker then goes ahead of the log."""
        with self._keeping, self._app.app_context():
            try:
                return self._keeper.keep(text)
            except Exception:
                if text != self._flags.held:
                    self._flags.load(text)
                    self._on_ahead()  # the log cannot say it, and who is out must not stream on
                raise

    def _settle(self) -> None:
        """Called after every answer of Unleash; asks the database once in a while, and only where there is a reason."""
        if self._ahead_since is None or time.monotonic() - self._ahead_since < pending_changes.LASTS_S:
            return
        self._ahead_since = time.monotonic()
        with self._app.app_context():
            self._keeper.settle()
            self.load()

    def _checked_project(self, flag: Flag, *, lets_in: bool) -> str:
        """Its Admin API goes on to take changes of a flag that was archived, and nobody would get them; nor would
        anybody where Unleash has sent nothing yet. That nobody is in then is so already."""
        text = self.load()
        project = self._project(text, flag)
        link = self._admin.link(project, flag)
        if text is None and lets_in:
            sentence = f"{self.note() or 'Unleash has sent nothing yet'}: what is set there would not be in force here."
            raise Refused(sentence, "unleash-silent", link, 503)
        if text is not None and document.project(text, flag) is None:
            raise Refused(f"Unleash has no {flag}: create it there, or bring it back.", "unleash-missing", link, 409)
        return project

    def _project(self, text: str | None, flag: Flag) -> str:
        return (None if text is None else document.project(text, flag)) or "default"


def _text(epoch: float) -> str:
    return utc_text(datetime.fromtimestamp(epoch, UTC))


def _why(error: Refused | TestFailed) -> str:
    return str(error) or "somebody else changed it first"
