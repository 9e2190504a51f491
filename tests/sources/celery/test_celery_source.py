"""The parts of the Celery source that need no server: messages, results, options; and servers that answer nonsense."""

import base64
import json
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

import pytest
from pydantic import ValidationError

from app.sources.celery import KIND, celery_source
from app.sources.celery.broker import BrokerSnapshot, TakenMessage
from app.sources.celery.celery_workers import Roster, RunningTask, WorkerAnswer
from app.sources.celery.messages import list_queue_keys, parse_queued, parse_unacked
from app.sources.celery.options import CeleryOptions
from app.sources.celery.overdue_tasks import OverdueTasks, find_overdue
from app.sources.celery.remote_control import parse_announcement
from app.sources.celery.results import UNREADABLE, Results, parse_state
from app.sources.celery.task_details import find_stuck
from app.sources.protocol import Anomaly, ServiceAddress, SourceError
from app.sources.redis.client import RedisServer
from tests.support.machine import scaled


def message(**changes: Any) -> dict[str, Any]:
    headers = {"id": "a1", "task": "mail.send", "retries": 0, "argsrepr": "('secret',)", **changes}
    body = base64.b64encode(b'[["secret"], {}, {}]').decode()
    return {"headers": headers, "body": body, "properties": {"delivery_info": {"routing_key": "celery"}}}


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


class TestMessages:
    def test_a_message_tells_id_task_and_way_and_nothing_of_its_arguments(self) -> None:
        told = parse_queued(raw(message()))
        assert not isinstance(told, str)
        assert (told.id, told.task, told.route, told.attempt) == ("a1", "mail.send", "celery", 1)
        assert "secret" not in repr(told)
        assert parse_unacked(raw([message(), "", "celery"])) == told

    def test_a_message_of_the_first_protocol_is_known_by_its_correlation_id(self) -> None:
        old = {"headers": {}, "properties": {"correlation_id": "old"}, "body": ""}
        told = parse_queued(raw(old))
        assert not isinstance(told, str)
        assert told.id == "old"

    @pytest.mark.parametrize(
        "garbage",
        [b"", b"\xff", b"[]", b"null", b"{}", b"[" * 100_000, raw(message(id=7)), raw(message(id="x" * 1_001))],
    )
    def test_what_is_no_message_is_nothing(self, garbage: bytes) -> None:
        assert isinstance(parse_queued(garbage), str)
        assert isinstance(parse_unacked(garbage), str)

    def test_a_retry_and_a_replacement_are_other_turns_of_the_same_task(self) -> None:
        told = [parse_queued(raw(message(**c))) for c in ({}, {}, {"retries": 1}, {"replaced_task_nesting": 1})]
        assert len({one.turn for one in told if not isinstance(one, str)}) == 3

    def test_a_task_that_ignores_its_result_is_known_for_it(self) -> None:
        told = parse_queued(raw(message(ignore_result=True)))
        assert not isinstance(told, str)
        assert not told.keeps_result

    def test_each_priority_step_but_the_first_has_a_list_of_its_own(self) -> None:
        assert list_queue_keys("mail", (0, 3), "\x06\x16", "p:") == ["p:mail", "p:mail\x06\x163"]


class TestResults:
    @pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "REVOKED", "RETRY", "STARTED", "MY_OWN"])
    def test_the_state_is_read_from_the_first_bytes_whatever_the_serializer(self, state: str) -> None:
        meta = {"status": state, "result": "x" * 1_000}
        assert parse_state(json.dumps(meta).encode()[:96]) == state
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert parse_state(pickle.dumps(meta, protocol)[:96]) == state

    @pytest.mark.parametrize("head", [b"", b"\x1f\x8b\x08 compressed", b'{"status": "odd", "result": "SUCCESS"}'])
    def test_what_tells_no_state_is_unreadable(self, head: bytes) -> None:
        assert parse_state(head) == UNREADABLE

    @pytest.mark.parametrize(
        ("meta", "said"),
        [
            (
                {"traceback": 'Traceback (most recent call last):\n  File "a"\nmail.Lost: first\nsecond\n'},
                "mail.Lost: first\nsecond",
            ),
            (
                {"traceback": None, "result": {"exc_type": "WorkerLostError", "exc_message": ["exited", "early"]}},
                "WorkerLostError: exited, early",
            ),
            ({"result": {"exc_type": "ValueError", "exc_message": []}}, "ValueError"),
            ({"result": {"exc_type": 7}}, None),
            ({"result": 7}, None),
        ],
    )
    def test_an_error_has_its_type_and_all_of_its_message(self, meta: dict[str, Any], said: str | None) -> None:
        held = json.dumps({"status": "FAILURE", **meta}).encode()
        told = Results().read_result(Getrange(held), "a")  # type: ignore[arg-type] -- it stands for a client
        assert told is not None
        assert (told.state, str(told.error) if told.error else None) == ("FAILURE", said)


class Getrange:
    def __init__(self, held: bytes) -> None:
        self._held = held

    def getrange(self, key: str, start: int, end: int) -> bytes:
        assert key == "celery-task-meta-a"
        return self._held[start : end + 1]


class TestAnnouncements:
    def test_a_beat_tells_kind_name_and_process(self) -> None:
        body = base64.b64encode(raw({"type": "worker-heartbeat", "hostname": "one@x", "pid": 7})).decode()
        assert parse_announcement(raw({"body": body})) == ("worker-heartbeat", "one@x", 7)

    @pytest.mark.parametrize("said", [1, b"", b"{}", raw({"body": "!"}), raw({"body": "W10="}), raw({"body": 1})])
    def test_anything_else_is_none(self, said: object) -> None:
        assert parse_announcement(said) is None


class TestOptions:
    def test_the_defaults_are_celerys(self) -> None:
        options = CeleryOptions()
        assert (options.queues, options.priority_steps, options.result_backend) == (("celery",), (0, 3, 6, 9), False)
        assert CeleryOptions.model_validate_json(options.model_dump_json()) == options

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"queues": []}, "at least 1 item"),
            ({"queues": ["a", "a"]}, "each queue once"),
            ({"priority_steps": [3, 0]}, "rising order"),
            ({"result_backend": "redis://:secret@localhost/1"}, "without a password"),
            ({"result_backend": "http://localhost"}, "expected an address like redis://"),
            ({"finished_visible_for_s": 0}, "greater than 0"),
            ({"visibilty_timeout": 1}, "Extra inputs"),
        ],
    )
    def test_what_is_wrong_is_said_without_repeating_a_password(self, wrong: dict[str, Any], expected: str) -> None:
        with pytest.raises(ValidationError) as caught:
            CeleryOptions.model_validate(wrong)
        messages = [error["msg"] for error in caught.value.errors()]
        assert any(expected in text for text in messages), messages
        assert not any("secret" in text for text in messages)

    def test_what_it_cannot_do_comes_with_a_reason(self) -> None:
        source = KIND.build(ServiceAddress("redis://127.0.0.1:1/0"), CeleryOptions(inspect=False), 10)
        for action in ("retry-job", "restart-service", "workers"):
            assert source.capabilities.why_not(action)
        for action in ("delete-job", "purge-queue"):
            assert source.capabilities.why_not(action) is None
        assert source.capabilities.finished_visible_for_s is None

    def test_the_hosts_rules_hold_for_the_result_backend_too(self) -> None:
        options = CeleryOptions(inspect=False, result_backend="redis://169.254.169.254:1/0")
        source = KIND.build(ServiceAddress("redis://127.0.0.1:1/0"), options, 10)
        with pytest.raises(SourceError, match="has a result backend that has the address"):
            source._storage.read_result("a")
        source.close()


def answer(what: bytes, *, again: bool = False) -> Callable[[BaseRequestHandler, threading.Event], None]:
    def handle(connection: BaseRequestHandler, ended: threading.Event) -> None:
        connection.request.recv(65536)
        connection.request.sendall(what)
        while again and not ended.is_set():
            connection.request.sendall(what)

    return handle


def silence(connection: BaseRequestHandler, ended: threading.Event) -> None:
    ended.wait(scaled(60))


@contextmanager
def server(handle: Callable[[BaseRequestHandler, threading.Event], None]) -> Iterator[str]:
    ended = threading.Event()

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            try:
                handle(self, ended)
            except OSError:
                """The client has heard enough."""

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{made.server_address[1]}/0"
        finally:
            ended.set()
            made.shutdown()
            thread.join(scaled(10))


@pytest.mark.parametrize(
    ("handle", "reason"),
    [
        (answer(b"HTTP/1.1 500 Internal Server Error\r\n\r\n"), "answered something that is not the Redis protocol"),
        (answer(b"$100\r\nhalf"), "closed the connection before its answer was complete"),
        (answer(b"-LOADING Redis is loading the dataset in memory\r\n" * 20), "is still loading its data"),
        (answer(b""), "closed the connection before its answer was complete"),
        (silence, "did not answer within"),
    ],
)
def test_a_hostile_server_is_a_reason_and_nothing_else(
    handle: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # `tests/services/test_rq.py` holds that a server which is silent for 5 s is given up.
    monkeypatch.setattr(celery_source, "RedisServer", partial(RedisServer, answer_s=scaled(0.5)))
    with server(handle) as url:
        source = KIND.build(ServiceAddress(url), CeleryOptions(result_backend=True), 10)
        try:
            began = time.monotonic()
            with pytest.raises(SourceError, match=reason):
                source.read_snapshot()
            assert time.monotonic() - began < scaled(20)
            assert source.look_up("a").kind == "cannot-tell"
        finally:
            source.close()


def test_importing_the_kind_does_not_import_celery() -> None:
    code = "import sys, app.sources.celery.celery_source; assert not {'celery', 'kombu'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=scaled(60))


class TestTimes:
    """Tasks that may not run before their time: who holds them, in which state, and when that is too long."""

    NOW = 1_763_726_400.0  # 2025-11-21T12:00:00Z

    @pytest.mark.parametrize(
        ("eta", "due"),
        [
            ("2025-11-21T12:00:00+00:00", NOW),
            ("2025-11-21T13:00:00.500000+01:00", NOW + 0.5),
            ("2025-11-21T12:00:00", NOW),
            ("2025-11-21T12:00:00Z", NOW),
            ("tomorrow", None),
            ("9999-12-31T23:59:59-14:00", 253_402_351_199.0),
            ("0001-01-01T00:00:00+14:00", None),
            (7, None),
            (None, None),
        ],
    )
    def test_a_time_is_read_as_celery_writes_it(self, eta: object, due: float | None) -> None:
        told = parse_queued(raw(message(eta=eta)))
        assert not isinstance(told, str)
        assert told.due == due

    def test_a_taken_task_is_scheduled_until_its_time_and_reserved_from_then_on(self) -> None:
        told = parse_queued(raw(message(eta="2025-11-21T12:00:00Z")))
        assert not isinstance(told, str)
        assert [told.state_at(self.NOW + late) for late in (-1, 0, 1)] == ["scheduled", "reserved", "reserved"]

    def test_a_minute_after_its_time_it_is_stuck_wherever_it_is(self) -> None:
        made = BrokerSnapshot("one", None)
        for name in ("taken", "queued"):
            told = parse_queued(raw(message(id=name, eta="2025-11-21T12:00:00Z")))
            assert not isinstance(told, str)
            if name == "taken":
                made.taken[name] = TakenMessage(told, "tag", self.NOW - 10_000)
            else:
                made.queued[name] = ("celery", told)
        assert find_overdue(made, self.NOW + 60) == []
        found = find_overdue(made, self.NOW + 61)
        assert [(one.job.id, one.job.state, one.reason) for one in found] == [
            ("taken", "reserved", "it is overdue and no worker reports running it"),
            ("queued", "queued", "it is overdue and waits in its queue"),
        ]
        assert found[0].since is not None
        assert found[0].since.timestamp() == self.NOW
        assert find_stuck(made, 3_600, self.NOW) == [], "it was taken long ago, for a time of its own"


class TestOverdue:
    """Tasks that are late are a finding, with the oldest and, where the workers say it, why."""

    DUE = 1_763_726_400.0  # 2025-11-21T12:00:00Z
    OLDEST = "the oldest was due at 2025-11-21 12:00:00 UTC"

    @staticmethod
    def there(*queued: str, taken: dict[str, float] | None = None) -> BrokerSnapshot:
        made = BrokerSnapshot("one", None)
        for name in (*queued, *(taken or {})):
            told = parse_queued(raw(message(id=name, eta="2025-11-21T12:00:00Z")))
            assert not isinstance(told, str)
            if taken and name in taken:
                made.taken[name] = TakenMessage(told, "tag", taken[name])
            else:
                made.queued[name] = ("celery", told)
        return made

    @staticmethod
    def workers(at: float, *active: str, idle: bool = False, settled: bool = True) -> Roster:
        answers = {
            f"w{name}": WorkerAnswer(at, frozenset(), {name: RunningTask("nap", "celery", at)}) for name in active
        }
        if idle:
            answers["idle"] = WorkerAnswer(at, frozenset(), {})
        return Roster(at, settled, len(answers), frozenset(answers), answers)

    @pytest.mark.parametrize(
        ("active", "idle", "why"),
        [
            (("other",), False, "; every worker is busy"),
            ((), False, "; no worker is connected"),
            (("other",), True, ""),
        ],
    )
    def test_what_waits_a_minute_after_its_time_is_overdue(self, active: tuple[str, ...], idle: bool, why: str) -> None:
        tasks, there, late = OverdueTasks(), self.there("a", "b"), self.DUE + 61
        assert list(tasks.find(there, self.workers(self.DUE + 60, *active, idle=idle), self.DUE + 60)) == []
        assert list(OverdueTasks().find(there, self.workers(late, *active, idle=idle), late)) == [
            Anomaly("overdue", ("a", "b"), f"{self.OLDEST}{why}")
        ]

    def test_what_a_worker_holds_and_does_not_run_is_overdue_and_what_runs_is_not(self) -> None:
        late = self.DUE + 100
        there = self.there(taken={"held": self.DUE - 50, "runs": self.DUE - 50, "just": late - 1})
        found = list(OverdueTasks().find(there, self.workers(late - 2, "runs", idle=True), late))
        assert found == [Anomaly("overdue", ("held",), f"{self.OLDEST}; a worker holds it and does not run it")]

    @pytest.mark.parametrize(("settled", "age"), [(False, 1), (True, 60)])
    def test_where_not_every_worker_has_said_just_now_what_it_runs_what_was_taken_is_unknown(
        self, settled: bool, age: float
    ) -> None:
        late = self.DUE + 1_000
        there = self.there("waits", taken={"held": self.DUE - 50})
        found = list(OverdueTasks().find(there, self.workers(late - age, idle=True, settled=settled), late))
        assert found == [Anomaly("overdue", ("waits",), self.OLDEST)]

    def test_what_is_sent_with_a_time_that_is_over_is_late_only_after_a_minute(self) -> None:
        tasks, roster = OverdueTasks(), Roster()
        began = self.DUE + 3_600
        assert list(tasks.find(self.there(), roster, began)) == []
        assert [list(tasks.find(self.there("a"), roster, began + s)) != [] for s in (5, 60, 65, 66)] == [
            *(False, False, False, True)
        ]
        assert list(tasks.find(self.there(), roster, began + 70)) == []
        assert list(tasks.find(self.there("a"), roster, began + 75)) == [], "it came back just now"

    def test_what_was_late_before_the_first_look_is_found_in_it(self) -> None:
        assert list(OverdueTasks().find(self.there("a"), Roster(), self.DUE + 3_600)) != []
