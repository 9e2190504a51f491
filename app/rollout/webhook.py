"""Sends each change of a flag to a webhook, signed as Standard Webhooks say (https://www.standardwebhooks.com).

What is sent is read from the event log after a stored cursor, so nothing is lost while the receiver or Beacon is away.
Messages go out in order, and every try of one message has the same id.
"""

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Mapping

from flask import Flask
from sqlalchemy.orm import Session

from app.config import Settings
from app.db import read, write
from app.eventlog import generation
from app.eventlog import reader as log_read
from app.eventlog.reader import Event
from app.flags.models import WebhookRow
from app.infra import bounded_http
from app.infra.bounded_http import RequestLimits
from app.rollout.observation import FencedLease
from app.rollout.plan_service import read_epoch

log = logging.getLogger(__name__)

SEND_EVERY_S = 2.0
EVENT_TYPE = "flag.changed"
# A message is tried again after this time, then after twice as long, up to six hours; then it is given up.
RETRY_S, MAX_RETRY_S, MAX_TRIES = 5.0, 6 * 3_600.0, 16
_LIMITS = RequestLimits(pause_s=5.0, whole_s=15.0, max_bytes=64 * 1024)


def parse_secret(text: str) -> bytes:
    """The key of a secret that the settings have checked."""
    return base64.b64decode(text.removeprefix("whsec_"))


def build_headers(key: bytes, message_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def build_message(event: Event) -> dict[str, object]:
    """`type` says what was done: `rollout.set`, `rollout.held`, `rollout.ended` and so on."""
    return {"type": f"rollout.{event.data.get('kind', 'set')}", "timestamp": event.timestamp, "data": event.data}


class WebhookSender:
    """The sender of one worker; the one that holds the lease sends. `run_once` is called every `SEND_EVERY_S`."""

    def __init__(self, app: Flask, settings: Settings, lease: FencedLease) -> None:
        self._app, self._lease = app, lease
        self._url = settings.rollout_webhook_url
        self._key = parse_secret(settings.rollout_webhook_secret) if self._url else b""
        self._pools = bounded_http.open_connections()
        self._has_lease = False

    def run_once(self) -> None:
        if not self._url:
            return
        with self._app.app_context():
            self._has_lease = (self._has_lease and self._lease.renew()) or self._lease.try_acquire()
            while self._has_lease and self._send_next():
                self._has_lease = self._lease.renew()

    def _send_next(self) -> bool:
        """False if nothing is due."""
        with read() as session:
            row, now = session.get(WebhookRow, EVENT_TYPE), read_epoch(session)
            log_generation = generation.current_generation(session).generation
            page = None if row is None else log_read.read_type_after(session, row.cursor, EVENT_TYPE, 1)
        if row is None or page is None:
            self._save(None)
            return False
        if row.generation != log_generation:  # another database was restored: what was sent of it is unknown
            self._save(None)
            return False
        if now < row.retry_at or not page.events:
            return False
        [event] = page.events
        self._save(event, sent=self._send(event, log_generation, now), tries=row.tries + 1)
        return True

    def _send(self, event: Event, log_generation: str, now: float) -> bool:
        body = json.dumps(build_message(event)).encode()
        headers = build_headers(self._key, f"msg_{log_generation}_{event.id}", int(now), body)
        try:
            return bounded_http.send_request(self._pools, "POST", self._url, headers, _LIMITS, body).ok
        except bounded_http.RequestFailed:
            return False

    def _save(self, event: Event | None, *, sent: bool = False, tries: int = 0) -> None:
        """Without an event the cursor is put to the head of the log."""
        with write() as session:
            self._lease.guard(session)
            row = session.get(WebhookRow, EVENT_TYPE) or _add_row(session)
            if event is None:
                row.cursor, row.generation = log_read.head(session), generation.current_generation(session).generation
                row.tries, row.retry_at = 0, 0.0
            elif sent or tries >= MAX_TRIES:
                row.cursor, row.tries, row.retry_at = event.id, 0, 0.0
            else:
                row.tries = tries
                row.retry_at = read_epoch(session) + min(MAX_RETRY_S, RETRY_S * 2.0 ** (tries - 1))
        if event is not None and not sent and tries in (1, MAX_TRIES):
            log.warning("rollout webhook: event %s was not accepted, try %s of %s", event.id, tries, MAX_TRIES)


def _add_row(session: Session) -> WebhookRow:
    row = WebhookRow(name=EVENT_TYPE, cursor=0, generation="", tries=0, retry_at=0.0)
    session.add(row)
    return row
