"""The parts of an application that have a state, in one typed container."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

if TYPE_CHECKING:  # every package may import this module, so it imports none of them at run time
    from app.audit.attempt_log import AttemptRecorder
    from app.audit.count_cache import CountCache
    from app.audit.head_file import HeadKeeper
    from app.background import StreamServices
    from app.config import Settings
    from app.eventlog.append import DeriveEvents
    from app.eventlog.group_commit import GroupCommit
    from app.flags.evaluation import Flags
    from app.flags.provider import Provider
    from app.infra.rate_limits import UserRateLimit
    from app.monitoring.readiness import Readiness
    from app.reconciliation.registry import ServiceNames
    from app.rollout.client_reports import ReportLimiter
    from app.rollout.drift import DriftTracker
    from app.rollout.online_users import OnlineUsers
    from app.rollout.report_buffer import ReportBuffer
    from app.stream.formats import EventFormat
    from app.web.assets import Assets
    from app.web.audit.client_errors import ClientErrors
    from app.web.dashboard.self_stats import SelfStatsCache
    from app.web.dashboard.sparklines import TrendReader
    from app.web.health.metrics import Metrics
    from app.web.request_body import BodySlots


class Components:
    """The factory sets them all; one that is read before that raises `AttributeError`."""

    settings: "Settings"
    background: "StreamServices"
    flags: "Flags"
    provider: "Provider"
    assets: "Assets"
    metrics: "Metrics"
    readiness: "Readiness"
    publish_limit: "UserRateLimit"
    body_slots: "BodySlots"
    group_commit: "GroupCommit"
    attempt_recorder: "AttemptRecorder"
    count_cache: "CountCache"
    head_keeper: "HeadKeeper"
    client_errors: "ClientErrors"
    trend_reader: "TrendReader"
    self_stats: "SelfStatsCache"
    html_formats: "Callable[[str], EventFormat]"
    """The HTML format for a path prefix."""
    online_users: "OnlineUsers"
    drift: "DriftTracker"
    report_limiter: "ReportLimiter"
    report_buffer: "ReportBuffer"
    derive_events: "DeriveEvents | None" = None
    service_names: "ServiceNames | None" = None


def components(app: Flask | None = None) -> Components:
    """Those of `app`, or of the current application."""
    return cast(Components, (app or current_app).extensions["beacon"])
