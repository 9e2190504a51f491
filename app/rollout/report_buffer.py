"""Sums client reports in memory, so that a worker writes once every few seconds for any number of pages."""

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from itertools import islice

from flask import Flask

from app.components import components
from app.config import Settings
from app.db import read, write
from app.flags.document import Flag
from app.infra.concurrency import yield_to_loop
from app.rollout import client_reports, guardrail, stages, witnesses
from app.rollout.client_reports import ClientReport, ReportTotals
from app.rollout.plan_service import read_epoch
from app.rollout.report_quota import ReportQuota
from app.rollout.witnesses import MAX_OF_PERIOD, PersonReport

PEOPLE_PER_TRANSACTION = 200
PersonKey = tuple[str, str]
"""Cohort and user name."""


class ReportBuffer:
    """The buffer of one worker, flushed about every five seconds. `add` is called by every report and uses only memory.

    If the worker dies, the last few seconds of reports are lost.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app, self._settings, self._lag_bounds = (
            app,
            settings,
            guardrail.build_lag_bounds(settings.guardrail_max_lag_s),
        )
        self._quota = ReportQuota(settings.guardrail_min_attempts, settings.guardrail_window_s)
        self._sums: defaultdict[str, ReportTotals] = defaultdict(ReportTotals)
        self._people: defaultdict[tuple[str, str], PersonReport] = defaultdict(PersonReport)
        self._full: set[PersonKey] = set()
        self._full_since = (0, 0)
        self._lock = threading.Lock()

    def add(self, cohort: str, user: str, report: ClientReport) -> None:
        """Only streaming reports are limited per user in the sums. Polling reports are not judged by them, so all of
        them count."""
        with self._lock:
            self._people[cohort, user] += PersonReport.of(report, self._settings.guardrail_max_lag_s)
            if cohort == "streaming":
                report = self._quota.limit(user, report, time.monotonic())
            self._sums[cohort] += ReportTotals.of(report, self._lag_bounds)

    def flush(self) -> None:
        """Write the sums. Raises the database's error; unwritten sums are kept for the next flush."""
        with self._lock:
            taken, self._sums = self._sums, defaultdict(ReportTotals)
            people, self._people = self._people, defaultdict(PersonReport)
        if not taken and not people:
            return
        try:
            self._save_sums(taken)
            taken = defaultdict(ReportTotals)
            with self._app.app_context():
                self._save_people(people)
        except Exception:
            with self._lock:
                for cohort, found in taken.items():
                    self._sums[cohort] += found
                for key, one in people.items():
                    self._people[key] += one
            raise

    def _save_sums(self, sums: Mapping[str, ReportTotals]) -> None:
        with self._app.app_context(), write() as session:
            now = read_epoch(session)
            for cohort, found in sorted(sums.items()):
                client_reports.add_totals(session, cohort, found, now)

    def _save_people(self, people: dict[PersonKey, PersonReport]) -> None:
        """A few hundred in a transaction, because thousands would keep the event loop from streams and requests. What
        is written is removed from `people`."""
        flag, settings = Flag.SSE_STREAMING, self._settings
        with read() as session:
            since_ms, now = stages.find_stage_start(session, flag), read_epoch(session)
        self._forget_full(since_ms, int(now // settings.guardrail_window_s))
        for key in [key for key, one in people.items() if key in self._full and not one.has_connected]:
            del people[key]
        while people:
            some = dict(islice(people.items(), PEOPLE_PER_TRANSACTION))
            with write() as session:
                client_reports.lock_reports(session)
                witnesses.save_reports(
                    session, flag, since_ms, some, now, settings.guardrail_window_s, settings.secret_key
                )
            self._full |= {key for key, one in some.items() if one.delivered >= MAX_OF_PERIOD[1]}
            for key in some:
                del people[key]
            yield_to_loop()

    def _forget_full(self, since_ms: int, period: int) -> None:
        """`_full` holds whose deliveries count no more in this period."""
        if (since_ms, period) != self._full_since:
            self._full_since, self._full = (since_ms, period), set()


def current_report_buffer() -> ReportBuffer:
    """The report buffer of the current application."""
    return components().report_buffer
