"""Creates the Flask application of Beacon, a live operations dashboard."""

from collections.abc import Callable, Mapping
from functools import partial

from flask import Flask

from app.audit import attempt_log, maintenance
from app.audit.count_cache import CountCache
from app.audit.head_file import HeadKeeper
from app.background import Periodic, StreamServices
from app.components import Components, components
from app.config import Settings, load_settings, prepare_instance_dir
from app.db import configure_engine, db, engine_options, engine_url
from app.eventlog import append
from app.eventlog.event_types import MAX_BODY_BYTES
from app.eventlog.group_commit import GroupCommit
from app.flags import evaluation
from app.flags.provider import EmbeddedProvider
from app.flags.sync import FlagSync
from app.flags.unleash.unleash_provider import UnleashProvider
from app.flags.worker_state import WorkerStateReporter
from app.infra import rate_limits, resources
from app.infra.app_context import in_app_context
from app.monitoring import readiness
from app.monitoring.delivery_lag import DeliveryLag
from app.notifications import notify
from app.reconciliation import registry
from app.rollout import drift
from app.rollout.client_reports import ReportLimiter
from app.rollout.online_users import POLLS_FLUSH_EVERY_S, OnlineUsers
from app.rollout.report_buffer import ReportBuffer
from app.stream.build_stream import StreamEngine
from app.stream.formats import build_html_format
from app.stream.handoff import HandOff
from app.stream.hub import Hub
from app.stream.viewer_count import count_streams, streaming_users
from app.web import path_prefix, request_body
from app.web.audit import client_errors
from app.web.dashboard import push_fragments, self_stats, sparklines
from app.web.health import metrics
from app.web.registration import register
from app.web.trusted_proxies import TrustedProxies

FLAG_RETRY_S = 1.0


def create_app(settings: Settings | None = None) -> Flask:
    """Build the application. Starts nothing and opens no connection: `StreamServices.start` does."""
    settings = settings or load_settings()
    prepare_instance_dir(settings)
    app = Flask("beacon", root_path=str(resources.ROOT), static_folder=None, template_folder=str(resources.TEMPLATES))
    app.config.update(
        SQLALCHEMY_DATABASE_URI=engine_url(settings.database_url),
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings.database_url),
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_BODY_BYTES,
    )
    app.extensions["beacon"] = Components()
    _init_database(app)
    _register_web(app)
    add_components(app, settings)
    return app


def add_components(app: Flask, settings: Settings) -> None:
    """Create all components that have state and depend on the settings.

    It may be called again after `StreamServices.stop`: new components then replace the old ones, while routes,
    templates and the database engine stay. The settings must name the same database.
    """
    app.config["SECRET_KEY"] = settings.secret_key
    parts = components(app)
    parts.settings = settings
    parts.body_slots = request_body.BodySlots()
    parts.group_commit = GroupCommit()
    parts.attempt_recorder = attempt_log.AttemptRecorder()
    parts.count_cache = CountCache()
    parts.head_keeper = HeadKeeper(settings)
    parts.client_errors = client_errors.ClientErrors()
    parts.readiness = readiness.Readiness(app)
    parts.trend_reader = sparklines.TrendReader()
    parts.service_names = None
    _build_background(app, settings)


def _init_database(app: Flask) -> None:
    db.init_app(app)
    with app.app_context():
        configure_engine(db.engine)


def _register_web(app: Flask) -> None:
    """Register routes and WSGI wrappers."""
    register(app)
    # Replacing `wsgi_app` is Flask's documented way to add middleware.
    hand_off = HandOff(app.wsgi_app, lambda: _stream_engine(app).socket_loop)
    app.wsgi_app = TrustedProxies(  # type: ignore[method-assign]
        hand_off,
        lambda: components(app).settings.trusted_networks,
        lambda: components(app).settings.path_prefix,
    )


def _stream_engine(app: Flask) -> StreamEngine:
    return components(app).background.engine


def _build_background(app: Flask, settings: Settings) -> None:
    """Build what runs beside requests. Flags listen to the log before the hub, so that it evaluates current ones."""
    parts = components(app)
    parts.flags = asked = evaluation.Flags(settings.flag_overrides)
    render = in_app_context(app, partial(push_fragments.render_fragments, name_of=registry.service_name))
    parts.html_formats = path_prefix.build_html_formats(build_html_format(render))
    hub = Hub(lambda user: asked.is_enabled(evaluation.Flag.SSE_STREAMING, user))
    parts.background = live = StreamServices(app, settings, hub)
    parts.publish_limit = rate_limits.build_publish_limit(settings, live.shared_counters)
    metrics.init_app(app, live, lambda: hub.counters)  # the first part, so that it stops and counts after all others
    self_stats.init_app(app, count_streams, DeliveryLag(parts.metrics.text).mean_s)

    rollouts = _build_rollout_loader(app, settings, asked, live, hub.request_flag_check)
    follower = FlagSync(asked, rollouts, hub.request_flag_check)
    live.tail.add_listener(follower.listen)
    live.tail.add_listener(hub.deliver)
    live.add(Periodic(FLAG_RETRY_S, follower.retry))
    live.add(Periodic(evaluation.REEVALUATE_EVERY_S, lambda: asked.expire_timed_answers(hub.request_flag_check)))
    parts.online_users = online = OnlineUsers(app, streaming_users)
    live.add(Periodic(POLLS_FLUSH_EVERY_S, online.flush))
    parts.drift = beside = drift.DriftTracker(app, asked, online, rollouts)
    live.add(Periodic(drift.DRIFT_CHECK_EVERY_S, beside.update))
    parts.report_limiter = ReportLimiter()
    parts.report_buffer = reported = ReportBuffer(app, settings)
    live.add(Periodic(POLLS_FLUSH_EVERY_S, reported.flush))
    live.add(reporter := WorkerStateReporter(app, asked))
    live.add(Periodic(FLAG_RETRY_S, reporter.report))
    append.register_derive(app, notify.derive_notifications)
    live.add(maintenance.ShutdownFlush(app))
    for task in maintenance.local_tasks(app):
        live.add_task(*task)


def _build_rollout_loader(
    app: Flask, settings: Settings, asked: evaluation.Flags, live: StreamServices, on_ahead: Callable[[], None]
) -> Callable[[], Mapping[str, evaluation.Rollout] | str | None]:
    """Choose the provider of flags: Unleash if its URL is set, otherwise our own database."""
    provider: EmbeddedProvider | UnleashProvider = EmbeddedProvider()
    if settings.unleash_url:
        provider = UnleashProvider(app, settings, asked, on_ahead)
        live.add(provider.poller)
    components(app).provider = provider

    return in_app_context(app, provider.load)
