"""Adds up what browsers report in memory: however many pages there are, a worker writes once every few seconds."""

import threading
import time
from collections import defaultdict

from flask import Flask, current_app

from app.config import Settings
from app.db import write
from app.rollout import client_reports, guardrail
from app.rollout.client_reports import ClientReport, ReportTotals
from app.rollout.plan_service import read_epoch
from app.rollout.report_quota import ReportQuota


class ReportBuffer:
    """One worker's, flushed about every five seconds. `note` is called by every report: it touches memory alone.

    A worker that dies takes the last few seconds of evidence with it.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app, self._lag_bounds = app, guardrail.build_lag_bounds(settings.guardrail_max_lag_s)
        self._quota = ReportQuota(settings.guardrail_min_attempts, settings.guardrail_window_s)
        self._sums: defaultdict[str, ReportTotals] = defaultdict(ReportTotals)
        self._lock = threading.Lock()

    def add(self, cohort: str, login: str, report: ClientReport) -> None:
        """Only streams are judged; of polls all is taken, so that where one person looks their error rate is known."""
        with self._lock:
            if cohort == "streaming":
                report = self._quota.limit(login, report, time.monotonic())
            self._sums[cohort] += ReportTotals.of(report, self._lag_bounds)

    def flush(self) -> None:
        """Raises the database's error; what was not written is kept for the next time."""
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
    """Of the current application."""
    found: ReportBuffer = current_app.extensions["beacon_tally"]
    return found
