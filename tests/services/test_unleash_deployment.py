"""Whole deployments of Beacon beside a real Unleash server."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.live.test_make_run import beacon_demo, wait_started
from tests.services.unleash_scene import FLAG, FOLLOW_S, URL, beside
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.unleash_server import ADMIN_TOKEN, Unleash
from tests.support.waiting import wait_for


@pytest.fixture
def beacon(unleash: Unleash, tmp_path: Path, forked_servers: None) -> Iterator[Beacon]:
    """Two workers; killed in the end: that such a deployment stops when it is told to, the demo below shows."""
    settings = {name.upper(): value for name, value in beside(unleash).items()}
    made = Beacon(tmp_path, streaming=0, WORKERS=2, **settings)
    try:
        made.start()
        yield made
    finally:
        made.end()


def test_two_workers_of_a_server_follow_and_answer_while_unleash_is_frozen(unleash: Unleash, beacon: Beacon) -> None:
    headers = {"Authorization": f"Bearer {beacon.token('pia', 'rollout')}"}

    def shown() -> dict[str, Any]:
        answer = requests.get(beacon.url + URL, headers=headers, timeout=scaled(10))
        found: dict[str, Any] = answer.json()
        return found

    def stands_at(percentage: int) -> bool:
        now = shown()
        return (now["percentage"], now["workers"]) == (percentage, {"holding": 2, "total": 2})

    wait_for(lambda: stands_at(10), "both workers to hold 10 %", FOLLOW_S)
    unleash.set(FLAG, 75)
    wait_for(lambda: stands_at(75), "both workers to hold 75 %", FOLLOW_S)
    quiet = beacon.log_text()
    unleash.freeze()
    answers: list[dict[str, Any]] = []

    def noted() -> bool:
        answers.append(shown())
        return "does not respond in time" in answers[-1].get("note", "")

    wait_for(noted, "the note", FOLLOW_S)
    assert len(answers) > 5
    assert {answer["percentage"] for answer in answers} == {75}
    said = [line for line in beacon.log_text().removeprefix(quiet).splitlines() if "nleash" in line]
    assert len(said) <= 2, said
    unleash.thaw()


def test_the_demo_leaves_the_flags_to_unleash_and_says_so(unleash: Unleash, tmp_path: Path) -> None:
    settings = {f"BEACON_{name.upper()}": value for name, value in beside(unleash).items()}
    with beacon_demo(tmp_path, free_port(), **settings) as (process, output):
        text = wait_started(process, output)
        process.send_signal(signal.SIGTERM)
        process.wait(scaled(15))
    assert f"feature flags     {unleash.url}\n" in text
    assert f"Unleash answers; {FLAG} at 10 %; changes go through its Admin API" in text
    assert ADMIN_TOKEN not in text
    assert unleash.percentage(FLAG) == 10
