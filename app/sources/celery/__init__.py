"""Celery with a Redis or Valkey broker (docs/sources/celery.md)."""

from app.sources.celery.celery_source import CelerySource
from app.sources.celery.options import CeleryOptions
from app.sources.protocol import Kind
from app.sources.redis.client import check_url

KIND = Kind(
    name="celery",
    about="Celery with a Redis or Valkey broker",
    url_example="redis://127.0.0.1:6379/0",
    check_url=check_url,
    options=CeleryOptions,
    build=CelerySource,
    advice={"overdue": "Check whether a worker with free capacity serves the queue."},
)
