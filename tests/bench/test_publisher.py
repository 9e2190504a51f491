"""The schedule and the events of the publishing process."""

import json
import re
import time
from collections.abc import Iterator

from bench import publisher


def test_an_event_has_its_number_its_moment_and_its_size() -> None:
    text = publisher.event(12, 345, 150)
    assert len(text) == 150
    assert json.loads(text)["mark"] == "#12#345#"


def test_it_keeps_the_rate_and_numbers_on() -> None:
    sent: list[list[str]] = []
    told = publisher.run(lambda batch: sent.append(list(batch)), 200, 60, 0.2, 0.02, 5)
    numbers = [int(found[1]) for batch in sent for text in batch if (found := re.search("#([0-9]+)#", text))]
    assert numbers == list(range(5, 45))
    assert len(sent) == 10
    assert told["last"] == 44


def test_a_slow_server_gets_the_late_batches_at_once() -> None:
    sent: list[int] = []

    def send(batch: Iterator[str]) -> None:
        sent.append(len(list(batch)))
        if len(sent) == 1:
            time.sleep(0.1)

    told = publisher.run(send, 100, 60, 0.15, 0.03, 1)
    assert sent == [3, 3, 3, 3, 3]
    assert told["late_s"] >= 0.04
