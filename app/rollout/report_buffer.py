"""Sums client reports in memory, so that a worker writes once every few seconds for any number of pages."""

import threading
import time
from collections import defaultdict

from flask import Flask
from sqlalchemy.orm import Session

from app.components import components
from app.config import Settings
from app.db import write
from app.flags.document import Flag
from app.rollout import client_reports, guardrail, stages, witnesses
from app.rollout.client_reports import ClientReport, ReportTotals
from app.rollout.plan_service import read_epoch
from app.rollout.report_quota import ReportQuota
from app.rollout.witnesses import PersonReport


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
        if not taken:
            return
        try:
            with self._app.app_context(), write() as session:
                now = read_epoch(session)
                for cohort, found in sorted(taken.items()):
                    client_reports.add_totals(session, cohort, found, now)
                self._save_people(session, people, now)
        except Exception:
            with self._lock:
                for cohort, found in taken.items():
                    self._sums[cohort] += found
                for key, one in people.items():
                    self._people[key] += one
            raise

    def _save_people(self, session: Session, people: witnesses.Reports, now: float) -> None:
        flag = Flag.SSE_STREAMING
        since_ms = stages.find_stage_start(session, flag)
        settings = self._settings
        witnesses.save_reports(session, flag, since_ms, people, now, settings.guardrail_window_s, settings.secret_key)


def current_report_buffer() -> ReportBuffer:
    """The report buffer of the current application."""
    return components().report_buffer
