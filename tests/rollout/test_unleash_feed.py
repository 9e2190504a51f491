"""What comes of each answer of an Unleash, sane or not: flags, a note, and a log that stays readable."""

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from app.flags.unleash import feed_poller as feed_module
from app.flags.unleash.feed_poller import UnleashPoller
from tests.support.hostile_json import deep, many_items, many_keys
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.unleash_stub import Answer, Edge, says, trickles, trickles_headers

TOO_MANY = "the response is a list of flags with more than 200,000 values"
USERS = json.dumps({"features": [{"name": "enable_sse_streaming", "strategies": [{"users": [1] * 60_000}]}]})
FLAGS = '{"version": 2, "features": [{"name": "enable_sse_streaming"}]}'


@dataclass(frozen=True)
class Large:
    """A body that is made by the test that needs it: in time for its answer, and not while tests are collected."""

    make: Callable[[], str]


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (says(500), "it responds with 500"),
        (says(302, Location="http://127.0.0.1:9/"), "it responds with 302"),
        (says(401), "it rejects BEACON_UNLEASH_API_TOKEN (401)"),
        (says(403), "it rejects BEACON_UNLEASH_API_TOKEN (403)"),
        (says(200, "<html>"), "the response is not a list of flags"),
        (says(200, "[" * 100_000), "the response is not a list of flags"),
        (says(200, '{"features": 3}'), "the response is not a list of flags"),
        (Large(lambda: json.dumps(many_keys())), TOO_MANY),
        (Large(lambda: json.dumps({"features": many_items({})})), TOO_MANY),
        (Large(lambda: deep().decode()), "the response is not a list of flags"),
        (says(200, USERS), "the response is a list of flags with more than 50,000 values"),
        (says(200, FLAGS), None),
    ],
)
def test_only_a_list_of_flags_is_taken_and_anything_else_is_named(
    edge: Edge, answer: Answer | Large, failure: str | None
) -> None:
    taken: list[str] = []
    feed = UnleashPoller(edge.url, "a token", taken.append)
    edge.answers = [says(200, answer.make()) if isinstance(answer, Large) else answer]
    feed.poll_once()
    assert feed.failure == failure
    assert (feed.failing_since is None, len(taken)) == ((True, 1) if failure is None else (False, 0))
    assert edge.seen[0]["Authorization"] == "a token"
    feed.stop()


@pytest.mark.parametrize("token", ["a token\r", " a token", "a\n token", "a töken\u20ac"])
def test_a_token_that_cannot_be_sent_is_named_without_being_told(
    edge: Edge, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks `/readyz` reads the failure, and nobody has to log in for that."""
    feed = UnleashPoller(edge.url, token, pytest.fail)
    feed.poll_once()
    assert feed.failure == "the request failed: check BEACON_UNLEASH_URL and BEACON_UNLEASH_API_TOKEN"
    assert "oken" not in caplog.text.replace("BEACON_UNLEASH_API_TOKEN", "").replace("cannot be kept", "")
    feed.stop()


@pytest.mark.parametrize(
    ("name", "value", "size", "failure"),
    [
        ("MAX_FEED_BYTES", 100_000, 70_000, "its response is larger than 100000 bytes"),
        ("POLL_DEADLINE_S", 0.2, 70_000, "it does not respond in time"),
        ("POLL_DEADLINE_S", 0.2, 1, "it does not respond in time"),
    ],
)
def test_an_answer_without_an_end_is_cut_off(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, name: str, value: float, size: int, failure: str
) -> None:
    monkeypatch.setattr(feed_module, "MAX_FEED_BYTES", 10**12)
    monkeypatch.setattr(feed_module, name, value)
    edge.answers = [trickles(size)]
    feed, began = UnleashPoller(edge.url, "", pytest.fail), time.monotonic()
    feed.poll_once()
    assert feed.failure == failure
    assert time.monotonic() - began < scaled(60), "bytes that come one by one are not waited for"
    feed.stop()


def test_headers_without_an_end_are_cut_off_and_the_next_question_is_answered(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "POLL_DEADLINE_S", 0.3)
    taken: list[str] = []
    edge.answers = [trickles_headers, says(200, FLAGS)]
    feed, began = UnleashPoller(edge.url, "", taken.append), time.monotonic()
    feed.poll_once()
    assert feed.failure == "it does not respond in time"
    assert time.monotonic() - began < scaled(60)
    monkeypatch.setattr(feed_module, "POLL_DEADLINE_S", 30)
    feed.poll_once()
    assert (feed.failure, taken) == (None, [FLAGS])
    feed.stop()


IN_A_WORKER = """
from gevent import monkey
monkey.patch_all()
import sys
from app.flags.unleash import feed_poller
feed_poller.POLL_DEADLINE_S = 0.3
poller = feed_poller.UnleashPoller(sys.argv[1], "", print)
poller.poll_once()
print(poller.failure)
"""


def test_they_are_in_a_worker_too(edge: Edge) -> None:
    edge.answers = [trickles_headers]
    command = [sys.executable, "-c", IN_A_WORKER, edge.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=scaled(120), check=True)
    assert done.stdout == "it does not respond in time\n"


def test_the_flags_of_others_are_left_behind(edge: Edge) -> None:
    taken: list[str] = []
    others = ", ".join(f'{{"name": "other{number}"}}' for number in range(100))
    edge.answers = [says(200, FLAGS.replace("[", f"[{others}, "))]
    feed = UnleashPoller(edge.url, "", taken.append)
    feed.poll_once()
    assert taken == [FLAGS]
    feed.stop()


def test_flags_that_are_not_taken_are_asked_for_again_in_full(edge: Edge) -> None:
    taken = iter([True, False, False, True])
    feed = UnleashPoller(edge.url, "", lambda _: next(taken))
    edge.answers = [says(200, FLAGS, ETag=f'"{n}"') for n in (5, 3, 3, 3)] + [says(304)]
    for _ in range(5):
        feed.poll_once()
    assert [headers.get("If-None-Match") for headers in edge.seen] == [None, '"5"', None, None, '"3"']
    feed.stop()


def test_the_same_flags_are_taken_once_and_what_could_not_be_kept_comes_again(edge: Edge) -> None:
    def fails_at_first(text: str) -> None:
        tried.append(text)
        if len(tried) == 1:
            raise OSError("the database is away")

    tried: list[str] = []
    feed = UnleashPoller(edge.url, "", fails_at_first)
    edge.answers = [says(200, FLAGS, ETag='"1"'), says(200, FLAGS, ETag='"1"'), says(304)]
    for _ in range(3):
        feed.poll_once()
    assert tried == [FLAGS, FLAGS]
    assert [headers.get("If-None-Match") for headers in edge.seen] == [None, None, '"1"']
    assert feed.failure is None
    feed.stop()


class TestLog:
    """A thousand failures are a line; whoever reads it sees what is new."""

    @pytest.fixture(autouse=True)
    def _clock(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """The seconds that pass between two lines are the test's."""
        caplog.set_level(logging.INFO)
        self.caplog, self.now = caplog, 1_000.0
        said = type("Clock", (), {"monotonic": lambda _: self.now})()
        monkeypatch.setattr(feed_module, "time", said)

    def looks(self, feed: UnleashPoller, number: int, every_s: float = 1.0) -> list[str]:
        """The new lines of all loggers."""
        self.caplog.clear()
        for _ in range(number):
            feed.poll_once()
            self.now += every_s
        return [record.getMessage() for record in self.caplog.records]

    def test_an_unleash_that_is_away_for_an_hour_is_seven_lines(self) -> None:
        feed = UnleashPoller(f"http://127.0.0.1:{free_port()}", "", pytest.fail)
        lines = self.looks(feed, 360, every_s=10)
        assert lines == ["Unleash: it cannot be reached; the last known flags apply"] * 6
        assert self.looks(feed, 1) == lines[:1]
        feed.stop()

    def test_one_that_comes_and_goes_is_two_lines_a_minute(self, edge: Edge) -> None:
        feed = UnleashPoller(edge.url, "", lambda _: None)
        edge.answers = [says(500), says(200, FLAGS)] * 60 + [says(200, FLAGS)]
        assert len(self.looks(feed, 120)) <= 5
        self.now += 30
        assert self.looks(feed, 10) in ([], ["Unleash: it responds again"])
        feed.stop()

    def test_a_database_that_is_away_is_one_traceback(self, edge: Edge) -> None:
        def fails(_: str) -> None:
            raise OSError("the database is away")

        edge.answers = [says(200, FLAGS)]
        feed = UnleashPoller(edge.url, "", fails)
        assert self.looks(feed, 100) == ["Unleash: its response could not be stored and will be fetched again"]
        assert self.caplog.text.count("Traceback") == 1
        feed.stop()
