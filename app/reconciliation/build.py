"""Builds the poller of one process: the factory adds it, the server starts it."""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from flask import Flask

from app.config import Settings
from app.db import write
from app.infra.clock import utc_now, utc_text
from app.infra.lease import Lease
from app.reconciliation import registry, service_admin
from app.reconciliation.explanations import EventExplainer, Explainer
from app.reconciliation.models import prune_samples
from app.reconciliation.observer import CheckFollower, ServiceObserver, WatchedService
from app.sources.poller import Poller
from app.sources.service_config import ServiceEntry
from app.sources.toml_file import read_services_file

log = logging.getLogger(__name__)

SAMPLE_RETENTION = timedelta(days=1)
PRUNE_EVERY_S = 60.0
SAMPLES_PER_PRUNE = 1_000
MAX_PRUNES_PER_TICK = 30


def build_poller(
    app: Flask, settings: Settings, explains: Sequence[Explainer] = (), followers: Sequence[CheckFollower] = ()
) -> Poller[WatchedService]:
    """Opens nothing but the services file. Raises `ConfigError` if that cannot be used.

    `explains` are explanations of vanished jobs, besides what services publish. `followers` learn from each check.
    """
    entries = read_services_file(settings.sources_file) if settings.sources_file else None
    lease = Lease()
    observer = _Housekeeping(lease, settings.poll_interval_s, [EventExplainer(), *explains], followers=followers)
    sources = registry.SourceRegistry(settings.job_list_bound)
    services = _Services(sources, entries)
    return Poller(
        lease,
        services.list_watched,
        observer,
        settings.poll_interval_s,
        context=app.app_context,
        let_go=sources.close_service,
        release=sources.close,
    )


class _Services:
    """The registry. The first poll in this process loads the services file into it."""

    def __init__(self, sources: registry.SourceRegistry, entries: Sequence[ServiceEntry] | None) -> None:
        self._sources, self._entries = sources, entries

    def list_watched(self) -> Sequence[WatchedService]:
        if self._entries is not None:
            with write() as session:
                service_admin.sync_from_file(session, self._entries)
            self._entries = None
        return self._sources.list_watched()


class _Housekeeping(ServiceObserver):
    """The observer, which also prunes old samples; only the process that polls does."""

    _prune_at = 0.0

    def tick(self) -> None:
        super().tick()
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + PRUNE_EVERY_S
        before = utc_text(utc_now() - SAMPLE_RETENTION)
        for _ in range(MAX_PRUNES_PER_TICK):
            with write() as session:
                if prune_samples(session, before, SAMPLES_PER_PRUNE) < SAMPLES_PER_PRUNE:
                    return
