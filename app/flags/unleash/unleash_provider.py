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
from app.flags.document import ConfiguredState, Flag, Rollout
from app.flags.embedded import ExpectedState, Precondition
from app.flags.evaluation import Flags
from app.flags.outcome import RolloutOutcome
from app.flags.provider import ChangeRefused, FlagView, PartialChange, ProviderMode, RolloutConflict
from app.flags.unleash import admin_api, pending_changes, snapshot_store, unleash_changes
from app.flags.unleash.admin_api import AdminClient, AdminFlagState, PatchTestFailed
from app.flags.unleash.feed_poller import UnleashPoller
from app.flags.unleash.healthcheck import HealthcheckResult, check_unleash
from app.flags.unleash.unleash_changes import FlagChange
from app.infra.clock import utc_text

# What was decided in a transaction is asked for so soon after it, or not at all: whoever was frozen in between knows
# nothing of what others did meanwhile.
MAX_SEND_DELAY_S = 2.0


class UnleashProvider:
    """One worker's. `feed` is its part of the live half.

    `on_ahead` is called after a load that went ahead of the log, for whoever acts on the log's word alone.
    """

    mode: ProviderMode = "unleash"

    def __init__(self, app: Flask, settings: Settings, flags: Flags, on_ahead: Callable[[], None]) -> None:
        self._app, self._settings, self._flags, self._on_ahead = app, settings, flags, on_ahead
        self._admin = AdminClient(settings.unleash_url, settings.unleash_admin_token, settings.unleash_environment)
        self._writer = snapshot_store.SnapshotWriter(self._find_author)
        self._store_lock = threading.Lock()
        # Since when this worker has held a change that Unleash has not sent yet (monotonic); None where it holds none.
        self._ahead_since: float | None = None
        self.poller = UnleashPoller(
            settings.unleash_url, settings.unleash_api_token, self._store, self._drop_undelivered
        )

    def check_health(self) -> HealthcheckResult:
        """For the doctor: ask once and keep nothing."""
        return check_unleash(self._settings, self._admin, lambda: self.load() is not None)

    @property
    def can_change(self) -> bool:
        return self._admin.has_token

    def load(self) -> str | None:
        with read() as session:
            text = snapshot_store.load_in_force(session)
            is_ahead = text != snapshot_store.load_newest(session)
        self._ahead_since = (self._ahead_since or time.monotonic()) if is_ahead else None
        return text

    def describe_problem(self) -> str | None:
        """Asked by health checks too: it touches neither Unleash nor the database."""
        failure, since = self.poller.failure, self.poller.failing_since
        if failure is None:
            return None
        applies = "declared defaults apply" if self._flags.configuration is None else "the last known flags apply"
        if self._ahead_since is not None:
            applies += ", with what Beacon has changed since"
        return f"Unleash: {failure} (since {since}); {applies}"

    def view(self, session: Session, flag: Flag) -> FlagView:
        text = snapshot_store.load_in_force(
            session
        )  # with the caller's connection: many may ask at once, and connections are few
        project = self._find_project(text, flag)
        link = self._admin.build_flag_link(project, flag)
        if text is None:
            why = "nothing came from Unleash yet"
            return FlagView(ConfiguredState(document.DEFAULTS[flag], None, why), why_not=why, link=link)
        nominal, (standing, reason) = document.read_state(text, flag), embedded.load_rollout_with_reason(session, flag)
        actor, at, since = standing.actor, standing.changed_at, standing.level_since
        ours = pending_changes.find_pending(session, flag)
        if ours is not None:  # on its way back to us, and in force already
            actor, at, reason = ours.actor, _to_utc_text(ours.at), ours.reason
            since = since if Rollout(ours.enabled, ours.percentage).level == standing.rollout.level else ours.at
        why_not = nominal.why
        if not self._admin.has_token:
            why_not = "Beacon has no admin token of Unleash (BEACON_UNLEASH_ADMIN_TOKEN): change it there."
        return FlagView(nominal, actor, at, why_not, link, since, reason, RolloutOutcome.of(text, flag))

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
        embedded.validate_change(reason, percentage)
        db.session.remove()  # what follows waits for Unleash, and must not hold a connection
        project = self._require_project(flag, lets_in=bool(percentage) or enabled is True)
        look = self._admin.read_flag(project, flag)
        before = self._to_rollout(look, flag, project, needs_percentage=percentage is not None)
        if expected is not None:
            with read() as session:
                now = self.view(session, flag)
            if not expected.matches(before, now.changed_at):
                is_back = expected.matches(before, expected.changed_at)  # where it was, and not since then
                raise RolloutConflict(now if is_back else self._build_conflict_view(flag, look, project))
        after = Rollout(
            before.enabled if enabled is None else enabled, before.percentage if percentage is None else percentage
        )
        self._change_in_stages(project, look, FlagChange(flag, actor, reason, before, after), precondition)
        shown = look.percentage if percentage is None else percentage
        nominal = ConfiguredState(after.enabled, shown, None if shown is not None else look.why_not)
        link = self._admin.build_flag_link(project, flag)
        return FlagView(nominal, actor, utc_text(), link=link, reason=reason, outcome=self._load_outcome(flag))

    def _change_in_stages(
        self, project: str, look: AdminFlagState, wanted: FlagChange, precondition: Precondition | None
    ) -> None:
        """Said beforehand, so that whoever sees it arrive knows whose it is; audited as it came out, by whoever comes
        first: this, or the worker that sees it arrive."""
        change, decided = unleash_changes.begin_change(wanted, precondition)
        done = 0
        try:
            for was, stage in pairwise([wanted.before, *wanted.stages]):
                not_after = (
                    decided + MAX_SEND_DELAY_S + done * admin_api.ADMIN_DEADLINE_S
                )  # those before it may take their time
                self._apply_stage(project, wanted.flag, look, was, stage, not_after)
                done += 1
        except (ChangeRefused, PatchTestFailed) as error:
            reached = unleash_changes.fail_change(wanted, change, done, _describe_failure(error))
            self._raise_failure(project, wanted.flag, error, wanted.before, reached)
        unleash_changes.finish_change(wanted, change)

    def _raise_failure(
        self, project: str, flag: Flag, error: ChangeRefused | PatchTestFailed, before: Rollout, reached: Rollout
    ) -> NoReturn:
        """Raises what the changer is told of a change that failed once it had reached this."""
        link = self._admin.build_flag_link(project, flag)
        if reached != before:
            did = "Switched off" if before.enabled else f"Set to {reached.percentage} % and still off"
            status = error.status if isinstance(error, ChangeRefused) else 409
            raise PartialChange(
                f"{did}. The rest is not: {_describe_failure(error)}", "unleash-partly", link, status
            ) from error
        if isinstance(error, ChangeRefused):
            raise error
        raise RolloutConflict(self._build_conflict_view(flag, self._admin.read_flag(project, flag), project)) from error

    def _apply_stage(
        self, project: str, flag: Flag, look: AdminFlagState, before: Rollout, after: Rollout, not_after: float
    ) -> None:
        """One stage."""
        if before.enabled != after.enabled:
            self._admin.switch(project, flag, not_after, on=after.enabled)
        else:
            self._admin.set_percentage(project, flag, look, after.percentage or 0, not_after)

    def _to_rollout(self, look: AdminFlagState, flag: Flag, project: str, *, needs_percentage: bool) -> Rollout:
        """The kill switch works whatever the strategies are."""
        if look.percentage is not None:
            return Rollout(look.enabled, look.percentage)
        if needs_percentage:
            link = self._admin.build_flag_link(project, flag)
            raise ChangeRefused(f"Beacon may not set it: {look.why_not}.", "unleash-strategies", link, 409)
        return Rollout(look.enabled, None)

    def _build_conflict_view(self, flag: Flag, look: AdminFlagState, project: str) -> FlagView:
        who = self._admin.find_last_change(flag)
        nominal = ConfiguredState(look.enabled, look.percentage, look.why_not)
        name, at = who or (None, None)
        link = self._admin.build_flag_link(project, flag)
        return FlagView(nominal, name, at, look.why_not, link, outcome=self._load_outcome(flag))

    def _load_outcome(self, flag: Flag) -> RolloutOutcome:
        with read() as session:
            return snapshot_store.load_outcome(session, flag)

    def _find_author(self, flag: Flag) -> snapshot_store.Author:
        who = self._admin.find_last_change(flag) if self._admin.has_token else None
        return snapshot_store.Author("Unleash") if who is None else snapshot_store.Author(f"{who[0]} (Unleash)", who[1])

    def _store(self, text: str) -> bool:
        """A kill switch must not wait for a database that is away: this worker then goes ahead of the log."""
        with self._store_lock, self._app.app_context():
            try:
                return self._writer.store(text)
            except Exception:
                if text != self._flags.configuration:
                    self._flags.load(text)
                    self._on_ahead()  # the log cannot say it, and who is out must not stream on
                raise

    def _drop_undelivered(self) -> None:
        """Called after every answer of Unleash; asks the database once in a while, and only where there is a reason."""
        if self._ahead_since is None or time.monotonic() - self._ahead_since < pending_changes.PENDING_EXPIRY_S:
            return
        self._ahead_since = time.monotonic()
        with self._app.app_context():
            self._writer.drop_undelivered()
            self.load()

    def _require_project(self, flag: Flag, *, lets_in: bool) -> str:
        """Its Admin API goes on to take changes of a flag that was archived, and nobody would get them; nor would
        anybody where Unleash has sent nothing yet. That nobody is in then is so already."""
        text = self.load()
        project = self._find_project(text, flag)
        link = self._admin.build_flag_link(project, flag)
        if text is None and lets_in:
            problem = self.describe_problem() or "Unleash has sent no flags yet"
            sentence = f"{problem}. A change made there would not take effect in Beacon."
            raise ChangeRefused(sentence, "unleash-silent", link, 503)
        if text is not None and document.find_project(text, flag) is None:
            raise ChangeRefused(
                f"Unleash has no {flag}: create it there, or bring it back.", "unleash-missing", link, 409
            )
        return project

    def _find_project(self, text: str | None, flag: Flag) -> str:
        return (None if text is None else document.find_project(text, flag)) or "default"


def _to_utc_text(epoch: float) -> str:
    return utc_text(datetime.fromtimestamp(epoch, UTC))


def _describe_failure(error: ChangeRefused | PatchTestFailed) -> str:
    return str(error) or "somebody else changed it first"
