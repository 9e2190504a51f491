"""Data in a real Valkey that is small in bytes and large in work, under the keys of RQ and of Celery."""

import base64
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.sources.celery import KIND, broker
from app.sources.celery.celery_source import CelerySource
from app.sources.celery.options import CeleryOptions
from app.sources.celery.remote_control import RemoteControl, parse_announcement
from app.sources.protocol import JobDetail, ServiceAddress, SourceError
from tests.services.rq_scene import Scene
from tests.services.valkey import Valkey
from tests.support.hostile_json import MANY, as_bytes, deep, many_items, many_keys

MB = 1_000_000
TASK = {"headers": {"id": "good", "task": "mail.send"}, "properties": {"delivery_info": {"routing_key": "celery"}}}
HOSTILE = [lambda: as_bytes(many_keys()), lambda: as_bytes(many_items()), deep]
IDS = ["keys", "items", "depth"]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene() as made:
        yield made


@pytest.fixture
def clean(scene: Scene) -> Scene:
    scene.redis.flushall()
    return scene


def celery(valkey: Valkey) -> CelerySource:
    made = KIND.build(ServiceAddress(valkey.url), CeleryOptions(inspect=False, result_backend=True), 10_000)
    assert isinstance(made, CelerySource)
    return made


class TestRq:
    @pytest.mark.parametrize("key", ["rq:queues", "rq:workers"])
    def test_half_a_million_names_are_refused_by_their_number(self, clean: Scene, key: str) -> None:
        fill(clean, "SADD", key, MANY)
        source = clean.source()
        with pytest.raises(SourceError) as refused:
            source.read_snapshot()
        assert "more than" in refused.value.reason
        source.close()

    def test_a_result_of_half_a_million_fields_is_not_taken(self, clean: Scene) -> None:
        clean.redis.hset("rq:job:a", mapping={"status": "failed", "origin": "mail"})
        clean.redis.execute_command("XADD", "rq:results:a", "*", *["f"] * MANY)
        source = clean.source()
        with pytest.raises(SourceError, match="answered with lists of more than 10,000 entries"):
            source.detail("a")
        clean.redis.delete("rq:results:a")
        detail = source.detail("a")
        assert detail is not None
        assert detail.job.state == "failed"
        source.close()

    def test_of_long_fields_a_line_is_read(self, clean: Scene) -> None:
        fields = {"status": "failed", "origin": "mail", "description": "a" * 5_000_000, "exc_info": b"\n" * 900_000}
        clean.redis.hset("rq:job:a", mapping=fields)
        source = clean.source()
        tracemalloc.start()
        detail = source.detail("a")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        source.close()
        assert detail is not None
        assert (len(detail.description or ""), detail.error) == (500, None)
        assert most < 40 * MB

    def test_what_no_page_can_send_is_replaced_in_the_facts_of_a_job(self, clean: Scene) -> None:
        call = json.dumps(["mail.s\ud83dend", None, [], {}]).encode()
        fields = {"status": "failed", "origin": "mail", "data": call, "worker_name": b"w\xff", "exc_info": b"[E\xff: a"}
        clean.redis.hset("rq:job:a", mapping=fields)  # type: ignore[arg-type]  # bytes beside texts
        source = clean.source()
        assert_sendable(source.detail("a"), "mail.s\ufffdend", "w\ufffd")
        source.close()

    def test_a_worker_of_a_million_queues_has_so_many_as_are_shown(self, clean: Scene) -> None:
        clean.redis.sadd("rq:workers", "rq:worker:w")
        clean.redis.hset("rq:worker:w", mapping={"birth": "2026-11-21T12:00:00Z", "queues": "a," * 40_000})
        source = clean.source()
        look = source.read_snapshot()
        assert look.workers is not None
        assert len(look.workers[0].queues) == 1_000
        clean.redis.hset("rq:worker:w", "queues", "a," * 3_000_000)
        with pytest.raises(SourceError, match="something other than RQ"):
            source.read_snapshot()
        source.close()


class TestCelery:
    @pytest.mark.parametrize("make", HOSTILE, ids=IDS)
    def test_such_a_message_is_counted_and_not_opened(self, clean: Scene, make: Callable[[], bytes]) -> None:
        clean.redis.rpush("celery", make(), json.dumps(TASK))
        source = celery(clean.valkey)
        look = source.read_snapshot()
        assert look.counts["queued"] == 2
        assert [sorted(listing.jobs) for listing in look.listings if listing.state == "queued"] == [["good"]]
        source.close()

    def test_ways_that_somebody_invents_are_not_followed_for_ever(
        self, clean: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "MAX_ROUTES", 5)
        sent = [
            {**TASK, "headers": {"id": f"t{n}"}, "properties": {"delivery_info": {"routing_key": f"way{n}"}}}
            for n in range(20)
        ]
        clean.redis.rpush("celery", *map(json.dumps, sent))
        source = celery(clean.valkey)
        assert source.read_snapshot().counts["queued"] == 20
        assert len(source._broker._routes) == 5
        source.close()

    @pytest.mark.parametrize("make", HOSTILE, ids=IDS)
    def test_nor_is_one_that_a_worker_took(self, clean: Scene, make: Callable[[], bytes]) -> None:
        clean.redis.hset("unacked", mapping={"bad": make(), "good": json.dumps([TASK, "", "celery"])})
        source = celery(clean.valkey)
        assert source.read_snapshot().counts["reserved"] == 2
        source.close()

    @pytest.mark.parametrize(
        "make",
        [lambda: as_bytes({"status": "FAILURE", "result": many_items(1)[:200_000]}), deep],
        ids=["items", "depth"],
    )
    def test_of_such_a_result_the_state_is_read(self, clean: Scene, make: Callable[[], bytes]) -> None:
        clean.redis.set("celery-task-meta-a", make())
        source = celery(clean.valkey)
        detail = source.detail("a")
        assert detail is not None
        assert detail.job.state in ("failed", "unreadable")
        assert detail.error is None
        source.close()

    def test_what_no_page_can_send_is_replaced_in_a_result(self, clean: Scene) -> None:
        odd = "\ud83d\0 <b>x</b>"
        result = {"status": "FAILURE", "name": f"mail.send{odd}", "worker": f"w{odd}", "traceback": f"E: {odd}"}
        clean.redis.set("celery-task-meta-a", json.dumps(result))
        source = celery(clean.valkey)
        assert_sendable(source.detail("a"), "mail.send\ufffd\ufffd <b>x</b>", "w\ufffd\ufffd <b>x</b>")
        clean.redis.set("celery-task-meta-a", json.dumps({"status": "FAILURE", "result": {"exc_type": f"E{odd}"}}))
        assert_sendable(source.detail("a"), None, None)
        source.close()

    @pytest.mark.parametrize("make", HOSTILE, ids=IDS)
    def test_a_worker_that_answers_so_is_silent(self, clean: Scene, make: Callable[[], bytes]) -> None:
        """Its answers lie in the list before the question, as late ones do."""
        body = make()
        pidbox = RemoteControl(0, "")
        wrapped = {"body": base64.b64encode(body).decode(), "headers": {"ticket": "x"}}
        clean.redis.rpush(pidbox._replies, body, json.dumps(wrapped))
        heard = pidbox._collect_replies(clean.redis, {"x": "active"}, 1)
        assert not any(heard.values())
        assert parse_announcement(body) is parse_announcement(json.dumps(wrapped).encode()) is None


def assert_sendable(detail: JobDetail | None, function: str | None, worker: str | None) -> None:
    assert detail is not None
    assert (detail.function, detail.worker) == (function, worker)
    assert detail.error is not None
    f"{detail.error}{detail.traceback}{detail.description}".encode()


def fill(scene: Scene, command: str, key: str, count: int) -> None:
    pipe: Any = scene.redis.pipeline(transaction=False)
    for start in range(0, count, 50_000):
        pipe.execute_command(command, key, *(f"n{n}" for n in range(start, start + 50_000)))
    pipe.execute()
