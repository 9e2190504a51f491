"""All services of the show, and what goes wrong in them by itself."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.faults import FaultRequest
from demo.profiles import FLEET, Profile, Trouble
from demo.server import Server, ServerOptions
from tests.support.demo_service import ROOT
from tests.support.machine import scaled
from tests.support.waiting import wait_for


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[list[dict[str, str]]]:
    command = [sys.executable, "-m", "demo", "--fleet", str(tmp_path), "--without-rq"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        yield json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(scaled(20)) == 0


def get(service: dict[str, str], path: str) -> Any:
    return requests.get(f"{service['url']}/api/v1{path}", timeout=scaled(5)).json()


def test_every_service_runs_and_is_broken_and_mended_by_its_commands(fleet: list[dict[str, str]]) -> None:
    assert [one["id"] for one in fleet] == [profile.id for profile in FLEET]
    for service in fleet:
        assert get(service, "/health")["name"] == service["title"]
        for name in ("breakCommand", "mendCommand"):
            found = re.fullmatch(r"curl -X PUT (\S+) -d '(.+)'", service[name])
            assert found
            url, body = found.groups()
            # As curl sends it.
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            assert (
                requests.put(url, data=body, headers=form, timeout=scaled(5)).json()["mode"] == json.loads(body)["mode"]
            )


def test_a_new_newsletter_has_failed_for_two_causes_in_the_last_hour(fleet: list[dict[str, str]]) -> None:
    [newsletter] = [one for one in fleet if one["id"] == "newsletter"]
    failed = get(newsletter, "/jobs?state=failed")["jobs"]
    causes = sorted((job["function"], job["error"]["type"]) for job in failed)
    assert len(causes) >= 31
    assert set(causes) == {("invoice.render", "KeyError"), ("newsletter.send", "smtplib.SMTPServerDisconnected")}
    assert len({job["finishedAt"] for job in failed}) > 20


def test_a_service_loses_jobs_once_in_the_life_of_its_database(tmp_path: Path) -> None:
    trouble = Trouble("none", after_s=0.05, lose_jobs=3, is_once=True)
    profile = Profile("mail", "Mail", ("mail",), "", arrival_every_s=1e6, wait_s=(1e6, 1e6), trouble=trouble)

    def start() -> Server:
        server = Server(tmp_path / "mail.db", ServerOptions("mail"), profile)
        server.start()
        return server

    first = start()
    try:
        wait_for(lambda: total(first) == 9, "three of twelve jobs to be lost")
    finally:
        first.stop()
    second = start()
    try:
        assert [thread._thread.name for thread in second._threads] == ["snapshots", "life"]
        assert total(second) == 9
    finally:
        second.stop()


def total(server: Server) -> int:
    counts = requests.get(f"{server.url}/api/v1/jobs/counts", timeout=scaled(5)).json()["counts"]
    return sum(counts.values())


def test_what_breaks_a_service_is_a_fault_that_it_knows() -> None:
    for profile in FLEET:
        FaultRequest.model_validate_json(profile.break_fault)
