"""A message that cannot be read is counted by its place, and all others are heard."""

import json
from typing import Any

import pytest

from app.sources.celery.broker import Broker
from app.sources.celery.messages import TaskMessage, parse_queued
from app.sources.protocol import LeftOut
from tests.sources.test_left_out import CONTROL, LONG, TOO_LONG


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (b"no message at all", "it is not a task's message"),
        (b"[" * 100_000, "it is not a task's message"),
        (json.dumps({"headers": {"id": LONG}}).encode(), TOO_LONG),
        (json.dumps({"headers": {"id": "a\n"}}).encode(), CONTROL),
        (json.dumps({"headers": {"id": 7}}).encode(), "it has no id"),
    ],
)
def test_a_message_that_is_no_task_is_counted_by_its_place(entry: bytes, fault: str) -> None:
    good = json.dumps({"headers": {"id": "good"}, "properties": {"delivery_info": {"routing_key": "celery"}}})
    snapshot = Broker(["celery"], [0], "", "", 10).read_snapshot(Held([good.encode(), entry], {b"tag": entry}))
    assert list(snapshot.queued) == ["good"]
    assert snapshot.counts == {"queued": 2, "reserved": 1}
    # An entry of `unacked` holds the message in a list; this one is none.
    assert snapshot.left_out["queued"] == LeftOut(1, f"entry 2 of celery: {fault}")
    assert snapshot.left_out["reserved"].number == 1
    assert snapshot.left_out["reserved"].first.startswith("entry tag of unacked: ")


@pytest.mark.parametrize(("retries", "attempt"), [(2, 3), (-5, None), (10**30, None)])
def test_a_number_that_is_no_attempt_is_not_known(retries: int, attempt: int | None) -> None:
    message = parse_queued(json.dumps({"headers": {"id": "a", "retries": retries}}).encode())
    assert isinstance(message, TaskMessage)
    assert message.attempt == attempt


def test_a_name_that_no_database_stores_is_cleaned() -> None:
    body = {"headers": {"id": "a", "task": "t\ud800"}, "properties": {"delivery_info": {"routing_key": "mail\0"}}}
    message = parse_queued(json.dumps(body).encode())
    assert isinstance(message, TaskMessage)
    assert (message.task, message.route) == ("t\ufffd", "mail\ufffd")


class Held:
    """Stands for a client of a Redis that holds these messages: what is asked in a pipeline is answered in order."""

    def __init__(self, queued: list[bytes], unacked: dict[bytes, bytes]) -> None:
        self._answers = {
            "llen": len(queued),
            "hlen": len(unacked),
            "lrange": queued,
            "hgetall": unacked,
            "zrange": [],
            "exists": 1,
            "info": {},
            "time": (0, 0),
        }
        self._asked: list[Any] = []

    def pipeline(self, *, transaction: bool) -> "Held":
        self._asked = []
        return self

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self._asked.append(self._answers[name])

    def execute(self) -> list[Any]:
        return self._asked
