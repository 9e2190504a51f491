"""Adds up what browsers report in memory: however many pages there are, a worker writes once every few seconds."""

import threading
import time
from collections import defaultdict

from flask import Flask, current_app

from app.config import Settings
from app.db import write
from app.rollout import client_reports, guardrail
from app.rollout.client_reports import Report, Sum
from app.rollout.plan_service import epoch
from app.rollout.report_quota import Portions


class Tally:
    """One worker's, flushed about every five seconds. `note` is called by every report: it touches memory alone.

    A worker that dies takes the last few seconds of evidence with it.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app, self._lag_bounds = app, guardrail.bounds(settings.guardrail_max_lag_s)
        self._portions = Portions(settings.guardrail_min_attempts, settings.guardrail_window_s)
        self._sums: defaultdict[str, Sum] = defaultdict(Sum)
        self._lock = threading.Lock()

    def note(self, cohort: str, login: str, report: Report) -> None:
        """Only streams are judged; of polls all is taken, so that where one person looks their error rate is known."""
        with self._lock:
            if cohort == "streaming":
                report = self._portions.cut(login, report, time.monotonic())
            self._sums[cohort] += Sum.of(report, self._lag_bounds)

    def flush(self) -> None:
        """Raises the database's error; what was not written is kept for the next time."""
        with self._lock:
            taken, self._sums = self._sums, defaultdict(Sum)
        if not taken:
            return
        try:
            with self._app.app_context(), write() as session:
                now = epoch(session)
                for cohort, found in sorted(taken.items()):
                    client_reports.add(session, cohort, found, now)
        except Exception:
            with self._lock:
                for cohort, found in taken.items():
                    self._sums[cohort] += found
            raise


def tally() -> Tally:
    """Of the current application."""
    found: Tally = current_app.extensions["beacon_tally"]
    return found
