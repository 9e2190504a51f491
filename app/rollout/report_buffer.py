"""Sums client reports in memory, so that a worker writes once every few seconds for any number of pages."""

import threading
import time
from collections import defaultdict

from flask import Flask

from app.components import components
from app.config import Settings
from app.db import write
from app.rollout import client_reports, guardrail
from app.rollout.client_reports import ClientReport, ReportTotals
from app.rollout.plan_service import read_epoch
from app.rollout.report_quota import ReportQuota


class ReportBuffer:
    """The buffer of one worker, flushed about every five seconds. `add` is called by every report and uses only memory.

    If the worker dies, the last few seconds of reports are lost.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app, self._lag_bounds = app, guardrail.build_lag_bounds(settings.guardrail_max_lag_s)
        self._quota = ReportQuota(settings.guardrail_min_attempts, settings.guardrail_window_s)
        self._sums: defaultdict[str, ReportTotals] = defaultdict(ReportTotals)
        self._lock = threading.Lock()

    def add(self, cohort: str, login: str, report: ClientReport) -> None:
        """Only streaming reports are limited per login. Polling reports are not judged, so all of them count."""
        with self._lock:
            if cohort == "streaming":
                report = self._quota.limit(login, report, time.monotonic())
            self._sums[cohort] += ReportTotals.of(report, self._lag_bounds)

    def flush(self) -> None:
        """Write the sums. Raises the database's error; unwritten sums are kept for the next flush."""
        with self._lock:
            taken, self._sums = self._sums, defaultdict(ReportTotals)
        if not taken:
            return
        try:
            with self._app.app_context(), write() as session:
                now = read_epoch(session)
                for cohort, found in sorted(taken.items()):
                    client_reports.add_totals(session, cohort, found, now)
        except Exception:
            with self._lock:
                for cohort, found in taken.items():
                    self._sums[cohort] += found
            raise


def current_report_buffer() -> ReportBuffer:
    """The report buffer of the current application."""
    return components().report_buffer
