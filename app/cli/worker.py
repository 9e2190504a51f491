"""`beacon worker`: polls services, runs commands, steers rollouts and deletes what is past its retention.

It serves no requests and shares only the database with the web workers. Several of them, also on several hosts, divide
the work by the leases in the database.
"""

import gc
import logging
import os
import signal
import sys
import threading
import time

from flask import Flask

from app.accounts import credential_retention
from app.audit import maintenance
from app.background import BackgroundServices, Periodic
from app.cli.context import open_app
from app.commands import command_retention
from app.commands.removed_jobs import CommandExplanations
from app.commands.runner import CommandRunner, wake_poller_on_commands
from app.components import components
from app.config import Settings
from app.db import read
from app.eventlog import event_retention
from app.eventlog import reader as log_read
from app.eventlog.log_size import LogSizeMeter
from app.eventlog.reader import EventPage
from app.failures import failure_retention
from app.failures.tracker import FailureTracker
from app.infra.file_descriptors import raise_descriptor_limit
from app.infra.lease import Lease
from app.infra.logs import configure_logging
from app.notifications import notification_retention
from app.reconciliation.build import build_poller
from app.rollout.controller import CONTROL_EVERY_S, RolloutController
from app.rollout.webhook import SEND_EVERY_S, WebhookSender
from app.web import idle_logins

log = logging.getLogger(__name__)

PRUNE_EVERY_S = 600.0
# How soon a command is noticed, and how often the log is read at most.
TAIL_PAUSE_S = 0.2
LOG_LIMIT_EVERY_S = 10.0
FAILURE_LIMIT_EVERY_S = 60.0
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
# What stopping may take beyond the time that is given to running commands.
STOP_MARGIN_S = 8.0
# A thread that needs Python's lock for a moment, as the one that renews the leases, waits this long for one that
# judges a million jobs. Python's own 5 ms would add up, because each call of the database gives the lock away.
SWITCH_INTERVAL_S = 0.001


class WorkerServices(BackgroundServices):
    """Everything that runs once in a deployment, whatever is requested."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        super().__init__(app, settings, TAIL_PAUSE_S)
        self._runner = CommandRunner(app, settings.job_list_bound)
        failures = FailureTracker()
        poller = build_poller(app, settings, [CommandExplanations()], [failures])
        self.tail.add_listener(self._runner.listen)
        self.tail.add_listener(failures.listen)
        self.tail.add_listener(wake_poller_on_commands(poller.poll_now))
        rollout = RolloutController(app, settings, components(app).provider, Lease("rollout"))
        self.add(Periodic(CONTROL_EVERY_S, rollout.run_once))
        if settings.rollout_webhook_url:
            webhook = WebhookSender(app, settings, Lease("rollout-webhook"))
            self.add(Periodic(SEND_EVERY_S, webhook.run_once))
        self.add(maintenance.ShutdownFlush(app))
        for task in (*maintenance.local_tasks(app), *maintenance.deployment_tasks(settings)):
            self.add_task(*task)
        self._add_retention(settings)
        self.add(poller)
        self.add(self._runner)  # after the poller, so that it stops first: its last outcomes may need a poll

    def _read_after(self, cursor: int) -> EventPage:
        """Of a log that others fill with thousands of events a second, only commands concern this process."""
        with self._app.app_context(), read() as session:
            return log_read.read_type_after(session, cursor, "command.status")

    def drain(self) -> None:
        """Let running commands end within `BEACON_DRAIN_S`; no new one begins."""
        if self.started:
            self._runner.drain()
            self._runner.wait(time.monotonic() + self.settings.drain_s)

    def _add_retention(self, settings: Settings) -> None:
        days = settings.event_retention_days
        limit = event_retention.LogLimit(settings.event_max_rows, settings.event_max_mib * 1024 * 1024, LogSizeMeter())
        self.add_task(PRUNE_EVERY_S, "log retention", lambda: event_retention.prune(days))
        self.add_task(LOG_LIMIT_EVERY_S, "log size limit", limit.enforce)
        self.add_task(PRUNE_EVERY_S, "notification retention", lambda: notification_retention.prune(days))
        self.add_task(PRUNE_EVERY_S, "command retention", lambda: command_retention.prune(days))
        self.add_task(PRUNE_EVERY_S, "failure retention", lambda: failure_retention.prune(days))
        self.add_task(FAILURE_LIMIT_EVERY_S, "failure limits", failure_retention.enforce_limits)
        self.add_task(PRUNE_EVERY_S, "credential retention", credential_retention.prune)
        self.add_task(idle_logins.CHECK_INTERVAL_S, "idle logins", idle_logins.end_idle_logins)


def run(settings: Settings) -> None:
    """Work until SIGTERM, which lets running commands end, or SIGINT, which hands them over at once."""
    # Blocked before any thread starts: each has the mask of the thread that starts it. A handler would not do, because
    # one that is called just before the main thread begins to wait runs only when that wait ends, which is never.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    configure_logging()
    raise_descriptor_limit()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with open_app(settings) as app:
        services = WorkerServices(app, settings)
        # As in gunicorn.conf.py: what is loaded stays, and the tables of known jobs are in no cycle.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        services.start_when_ready()
        got = signal.sigwait(STOPS)
        log.info("the worker stops: %s", signal.Signals(got).name)
        _exit_within(settings.drain_s + STOP_MARGIN_S)
        if got == signal.SIGTERM:
            services.drain()
        services.stop()


def _exit_within(seconds: float) -> None:
    """Leave in any case: a database that does not answer may block what stops. The leases expire by themselves."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()
