"""Rollouts in an Unleash server: read from the stored snapshot, changed through the Admin API."""

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
from app.eventlog.event_types import ChangeCause
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

# A change is sent within this time after its transaction or not at all: if the process was suspended in between, others
# may have changed the flag.
MAX_SEND_DELAY_S = 2.0


class UnleashProvider:
    """The provider of one worker. `poller` is its background service.

    `on_ahead` is called after flags were loaded without an event, because listeners of the event log do not notice it.
    """

    mode: ProviderMode = "unleash"

    def __init__(self, app: Flask, settings: Settings, flags: Flags, on_ahead: Callable[[], None]) -> None:
        self._app, self._settings, self._flags, self._on_ahead = app, settings, flags, on_ahead
        self._admin = AdminClient(settings.unleash_url, settings.unleash_admin_token, settings.unleash_environment)
        self._writer = snapshot_store.SnapshotWriter(self._find_author)
        self._store_lock = threading.Lock()
        # Since when this worker has applied a change that Unleash has not sent yet (monotonic); None if there is none.
        self._ahead_since: float | None = None
        self.poller = UnleashPoller(
            settings.unleash_url, settings.unleash_api_token, self._store, self._drop_undelivered
        )

    def check_health(self) -> HealthcheckResult:
        """For `beacon doctor`: one request, nothing is stored."""
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
        """Also called by health checks, so it uses neither Unleash nor the database."""
        failure, since = self.poller.failure, self.poller.failing_since
        if failure is None:
            return None
        applies = "declared defaults apply" if self._flags.configuration is None else "the last known flags apply"
        if self._ahead_since is not None:
            applies += ", with what Beacon has changed since"
        return f"Unleash: {failure} (since {since}); {applies}"

    def view(self, session: Session, flag: Flag) -> FlagView:
        text = snapshot_store.load_in_force(session)  # uses the caller's connection, because connections are few
        project = self._find_project(text, flag)
        link = self._admin.build_flag_link(project, flag)
        if text is None:
            why = "Unleash has sent no flags yet"
            return FlagView(ConfiguredState(document.DEFAULTS[flag], None, why), why_not=why, link=link)
        state, (standing, reason) = document.read_state(text, flag), embedded.load_rollout_with_reason(session, flag)
        actor, at, since = standing.actor, standing.changed_at, standing.level_since
        ours = pending_changes.find_pending(session, flag)
        if ours is not None:  # in force already, although Unleash has not sent it yet
            actor, at, reason = ours.actor, _to_utc_text(ours.at), ours.reason
            since = since if Rollout(ours.enabled, ours.percentage).level == standing.rollout.level else ours.at
        why_not = state.why
        if not self._admin.has_token:
            why_not = "Beacon has no admin token of Unleash (BEACON_UNLEASH_ADMIN_TOKEN): change it there."
        return FlagView(state, actor, at, why_not, link, since, reason, RolloutOutcome.of(text, flag))

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
        embedded.validate_change(reason, percentage)
        db.session.remove()  # hold no connection while waiting for Unleash
        project = self._require_project(flag, lets_in=bool(percentage) or enabled is True)
        current = self._admin.read_flag(project, flag)
        before = self._to_rollout(current, flag, project, needs_percentage=percentage is not None)
        if expected is not None:
            with read() as session:
                now = self.view(session, flag)
            if not expected.matches(before, now.changed_at):
                is_back = expected.matches(before, expected.changed_at)  # same state, but it was changed in between
                raise RolloutConflict(now if is_back else self._build_conflict_view(flag, current, project))
        after = Rollout(
            before.enabled if enabled is None else enabled, before.percentage if percentage is None else percentage
        )
        self._change_in_stages(project, current, FlagChange(flag, actor, reason, before, after, cause), precondition)
        shown = current.percentage if percentage is None else percentage
        state = ConfiguredState(after.enabled, shown, None if shown is not None else current.why_not)
        link = self._admin.build_flag_link(project, flag)
        return FlagView(state, actor, utc_text(), link=link, reason=reason, outcome=self._load_outcome(flag))

    def _change_in_stages(
        self, project: str, current: AdminFlagState, wanted: FlagChange, precondition: Precondition | None
    ) -> None:
        """Record the change first, so that the worker that sees it come back knows its author. Its result is audited by
        this worker or by the one that sees it come back, whichever is first."""
        change, decided = unleash_changes.begin_change(wanted, precondition)
        done = 0
        try:
            for was, stage in pairwise([wanted.before, *wanted.stages]):
                # Later stages may start later: each stage before them may take its whole deadline.
                not_after = decided + MAX_SEND_DELAY_S + done * admin_api.ADMIN_DEADLINE_S
                self._apply_stage(project, wanted.flag, current, was, stage, not_after)
                done += 1
        except (ChangeRefused, PatchTestFailed) as error:
            reached = unleash_changes.fail_change(wanted, change, done, _describe_failure(error))
            self._raise_failure(project, wanted.flag, error, wanted.before, reached)
        unleash_changes.finish_change(wanted, change)

    def _raise_failure(
        self, project: str, flag: Flag, error: ChangeRefused | PatchTestFailed, before: Rollout, reached: Rollout
    ) -> NoReturn:
        """Raise the error for a change that failed after it had reached this state."""
        link = self._admin.build_flag_link(project, flag)
        if reached != before:
            did = "Switched off" if before.enabled else f"Set to {reached.percentage} % and still off"
            status = error.status if isinstance(error, ChangeRefused) else 409
            raise PartialChange(
                f"{did}. The rest failed: {_describe_failure(error)}", "unleash-partly", link, status
            ) from error
        if isinstance(error, ChangeRefused):
            raise error
        raise RolloutConflict(self._build_conflict_view(flag, self._admin.read_flag(project, flag), project)) from error

    def _apply_stage(
        self, project: str, flag: Flag, current: AdminFlagState, before: Rollout, after: Rollout, not_after: float
    ) -> None:
        """Send one stage to Unleash."""
        if before.enabled != after.enabled:
            self._admin.switch(project, flag, not_after, on=after.enabled)
        else:
            self._admin.set_percentage(project, flag, current, after.percentage or 0, not_after)

    def _to_rollout(self, current: AdminFlagState, flag: Flag, project: str, *, needs_percentage: bool) -> Rollout:
        """The kill switch works with any strategies; only a percentage needs a single gradual rollout."""
        if current.percentage is not None:
            return Rollout(current.enabled, current.percentage)
        if needs_percentage:
            link = self._admin.build_flag_link(project, flag)
            raise ChangeRefused(
                f"Beacon cannot set the percentage: {current.why_not}.", "unleash-strategies", link, 409
            )
        return Rollout(current.enabled, None)

    def _build_conflict_view(self, flag: Flag, current: AdminFlagState, project: str) -> FlagView:
        who = self._admin.find_last_change(flag)
        state = ConfiguredState(current.enabled, current.percentage, current.why_not)
        name, at = who or (None, None)
        link = self._admin.build_flag_link(project, flag)
        return FlagView(state, name, at, current.why_not, link, outcome=self._load_outcome(flag))

    def _load_outcome(self, flag: Flag) -> RolloutOutcome:
        with read() as session:
            return snapshot_store.load_outcome(session, flag)

    def _find_author(self, flag: Flag) -> snapshot_store.Author:
        who = self._admin.find_last_change(flag) if self._admin.has_token else None
        return snapshot_store.Author("Unleash") if who is None else snapshot_store.Author(f"{who[0]} (Unleash)", who[1])

    def _store(self, text: str) -> bool:
        """Store the text. If the database is unavailable, this worker loads it anyway: a kill switch must not wait."""
        with self._store_lock, self._app.app_context():
            try:
                return self._writer.store(text)
            except Exception:
                if text != self._flags.configuration:
                    self._flags.load(text)
                    self._on_ahead()  # there is no event, but excluded users must stop streaming
                raise

    def _drop_undelivered(self) -> None:
        """Called after every response of Unleash. Uses the database only if needed, and rarely."""
        if self._ahead_since is None or time.monotonic() - self._ahead_since < pending_changes.PENDING_EXPIRY_S:
            return
        self._ahead_since = time.monotonic()
        with self._app.app_context():
            self._writer.drop_undelivered()
            self.load()

    def _require_project(self, flag: Flag, *, lets_in: bool) -> str:
        """The project of the flag. Raises `ChangeRefused` if a change would have no effect.

        The Admin API accepts changes of an archived flag, which nobody would get. If Unleash has sent nothing yet,
        nobody would get a change either; switching off is allowed, because nobody is in anyway."""
        text = self.load()
        project = self._find_project(text, flag)
        link = self._admin.build_flag_link(project, flag)
        if text is None and lets_in:
            problem = self.describe_problem() or "Unleash has sent no flags yet"
            sentence = f"{problem}. A change made there would not take effect in Beacon."
            raise ChangeRefused(sentence, "unleash-silent", link, 503)
        if text is not None and document.find_project(text, flag) is None:
            raise ChangeRefused(f"Unleash has no {flag}: create or revive it there.", "unleash-missing", link, 409)
        return project

    def _find_project(self, text: str | None, flag: Flag) -> str:
        return (None if text is None else document.find_project(text, flag)) or "default"


def _to_utc_text(epoch: float) -> str:
    return utc_text(datetime.fromtimestamp(epoch, UTC))


def _describe_failure(error: ChangeRefused | PatchTestFailed) -> str:
    return str(error) or "somebody else changed it first"
