"""Each change of the rollout reaches the webhook signed, in order, and once more until it is accepted."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from flask import Flask

from app.config import Settings
from app.db import db, write
from app.flags import embedded
from app.flags.document import Flag
from app.flags.models import WebhookRow
from app.infra.lease import Lease
from app.rollout.webhook import MAX_TRIES, WebhookSender, build_headers, parse_secret

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


class Receiver:
    """Answers with `status`, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.got = 204, list[tuple[dict[str, str], bytes]]()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def messages(self) -> list[tuple[str, Any]]:
        return [(headers["webhook-id"], json.loads(body)) for headers, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def sender(app: Flask, settings: Settings, receiver: Receiver) -> WebhookSender:
    given = settings.model_copy(update={"rollout_webhook_url": receiver.url, "rollout_webhook_secret": SECRET})
    with app.app_context():
        made = WebhookSender(app, given, Lease("rollout-webhook", 3_600, "one"))
    made.run_once()  # begins at the head of the log
    return made


def change(app: Flask, percentage: int) -> None:
    with app.app_context(), write() as session:
        embedded.change_rollout(session, Flag.SSE_STREAMING, "pia", "looks well", percentage)


def wait_over(app: Flask) -> None:
    with app.app_context(), write() as session:
        session.execute(db.update(WebhookRow).values(retry_at=0.0))


def test_changes_are_sent_in_order_and_once(app: Flask, sender: WebhookSender, receiver: Receiver) -> None:
    for percentage in (10, 50):
        change(app, percentage)
    for _ in range(3):
        sender.run_once()
    assert [(one["type"], one["data"]["percentage"]) for _, one in receiver.messages()] == [
        ("rollout.set", 10),
        ("rollout.set", 50),
    ]


def test_the_signature_is_that_of_standard_webhooks(app: Flask, sender: WebhookSender, receiver: Receiver) -> None:
    change(app, 10)
    sender.run_once()
    [(headers, body)] = receiver.got
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_example_of_the_specification_gives_its_signature() -> None:
    key = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = build_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_message_that_is_refused_is_tried_again_with_its_id_and_nothing_overtakes_it(
    app: Flask, sender: WebhookSender, receiver: Receiver
) -> None:
    receiver.status = 503
    for percentage in (10, 50):
        change(app, percentage)
    sender.run_once()
    sender.run_once()
    assert len(receiver.got) == 1, "it waits before it tries again"
    receiver.status = 200
    wait_over(app)
    sender.run_once()
    ids = [message_id for message_id, _ in receiver.messages()]
    assert ids[0] == ids[1] != ids[2]


def test_what_nobody_accepts_is_given_up_and_the_next_one_is_sent(
    app: Flask, sender: WebhookSender, receiver: Receiver
) -> None:
    receiver.status = 500
    change(app, 10)
    for _ in range(MAX_TRIES):
        wait_over(app)
        sender.run_once()
    receiver.status = 204
    change(app, 50)
    sender.run_once()
    assert receiver.messages()[-1][1]["data"]["percentage"] == 50


def test_another_worker_goes_on_where_the_first_one_stopped(
    app: Flask, settings: Settings, sender: WebhookSender, receiver: Receiver
) -> None:
    change(app, 10)
    with app.app_context(), write() as session:
        session.execute(db.text("UPDATE lease SET expires_at = 0"))
    given = settings.model_copy(update={"rollout_webhook_url": receiver.url, "rollout_webhook_secret": SECRET})
    with app.app_context():
        WebhookSender(app, given, Lease("rollout-webhook", 3_600, "two")).run_once()
    sender.run_once()
    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("url", "secret"), [("https://x.test", ""), ("https://x.test", "whsec_!"), ("ftp://x", SECRET)]
)
def test_a_webhook_that_cannot_work_stops_the_start(settings: Settings, url: str, secret: str) -> None:
    with pytest.raises(ValueError, match="BEACON_ROLLOUT_WEBHOOK"):
        Settings(instance_dir=settings.instance_dir, rollout_webhook_url=url, rollout_webhook_secret=secret)
