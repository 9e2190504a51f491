"""Failed tasks are counted from the results: each read once, so many at a look, and unknown until all were met."""

import json
from typing import Any

import pytest

from app.sources.celery import failure_count
from app.sources.celery.failure_count import COUNTING, TOO_MANY, FailureCounter
from app.sources.celery.results import Results

PREFIX = b"celery-task-meta-"


class Store:
    """Stands for a Redis that holds results: `SCAN` in parts, and `GETRANGE`, counted."""

    def __init__(self, **states: str) -> None:
        self.held: dict[bytes, bytes] = {}
        self.read = 0
        self._asked: list[bytes] = []
        for name, state in states.items():
            self.put(name, state)

    def put(self, task_id: str, state: str, **more: Any) -> None:
        self.held[PREFIX + task_id.encode()] = json.dumps({"status": state, "result": None, **more}).encode()

    def scan(self, cursor: int, match: str, count: int) -> tuple[int, list[bytes]]:
        assert match == PREFIX.decode().replace("-", "\\-") + "*"
        keys = sorted(self.held)
        after = cursor + count
        return (after if after < len(keys) else 0), keys[cursor:after]

    def pipeline(self, *, transaction: bool) -> "Store":
        assert not transaction
        self._asked = []
        return self

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def execute_command(self, name: str, key: bytes, start: int, end: int) -> None:
        assert (name, start) == ("GETRANGE", 0)
        self.read += 1
        self._asked.append(self.held.get(key, b"")[: end + 1])

    def execute(self, *, raise_on_error: bool) -> list[bytes]:
        assert not raise_on_error
        return self._asked


@pytest.fixture
def failures() -> FailureCounter:
    return FailureCounter(Results())


def follow(failures: FailureCounter, store: Store) -> tuple[int | None, str]:
    counted = failures.count_next_part(store)  # type: ignore[arg-type] -- it stands for a client
    return counted.number, counted.why


def test_all_results_of_a_small_backend_are_counted_at_one_look(failures: FailureCounter) -> None:
    assert follow(failures, Store(a="FAILURE", b="SUCCESS", c="FAILURE", d="RETRY")) == (2, "")


def test_no_result_at_all_is_no_failure(failures: FailureCounter) -> None:
    assert follow(failures, Store()) == (0, "")


def test_a_result_with_name_and_arguments_is_read_as_one_without(failures: FailureCounter) -> None:
    """As `result_extended` writes it."""
    store = Store()
    store.put("a", "FAILURE", name="mail.send", args=[1], kwargs={"status": "SUCCESS"}, worker="w", retries=3)
    assert follow(failures, store) == (1, "")


def test_what_is_read_once_is_not_read_again_and_new_results_are(failures: FailureCounter) -> None:
    store = Store(**{f"t{n}": "SUCCESS" for n in range(50)})
    follow(failures, store)
    store.put("new", "FAILURE")
    store.read = 0
    assert follow(failures, store) == (1, "")
    assert store.read == 1


def test_a_failure_that_was_delivered_again_and_succeeded_is_none(failures: FailureCounter) -> None:
    store = Store(a="FAILURE")
    follow(failures, store)
    store.put("a", "SUCCESS")
    assert follow(failures, store) == (0, "")


def test_an_expired_failure_is_none_any_more(failures: FailureCounter) -> None:
    store = Store(a="FAILURE", b="FAILURE")
    follow(failures, store)
    del store.held[PREFIX + b"a"]
    assert follow(failures, store) == (1, "")


def test_more_than_one_look_can_read_is_unknown_until_all_were_met_and_then_as_of_a_time(
    failures: FailureCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_count, "MAX_RESULTS_READ", 30)
    store = Store(**{f"t{n:03}": "FAILURE" if n % 2 else "SUCCESS" for n in range(100)})
    told = []
    for _ in range(4):
        before = store.read
        told.append(follow(failures, store))
        assert store.read - before <= 30
    assert told == [(None, COUNTING)] * 3 + [(50, "")]
    counted = failures.count_next_part(store)  # type: ignore[arg-type] -- as above
    assert counted.lags
    assert counted.as_of is not None


def test_keys_are_gone_through_in_parts_too(failures: FailureCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_count, "SCANS_PER_POLL", 2)
    monkeypatch.setattr(failure_count, "KEYS_PER_SCAN", 10)
    store = Store(**{f"t{n:03}": "FAILURE" for n in range(45)})
    assert [follow(failures, store)[0] for _ in range(3)] == [None, None, 45]


def test_more_than_are_remembered_are_said_not_to_be_counted(
    failures: FailureCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_count, "MAX_REMEMBERED_RESULTS", 10)
    assert follow(failures, Store(**{f"t{n}": "FAILURE" for n in range(11)})) == (None, TOO_MANY)


def test_a_prefix_is_no_pattern() -> None:
    assert Results("mail[1]*").pattern == "mail\\[1\\]\\*_celery\\-task\\-meta\\-*"
