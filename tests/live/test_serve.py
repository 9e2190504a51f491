"""`beacon serve` as people start it: web server and worker under one process that watches them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import processes
from tests.live.test_make_run import members
from tests.sources.palantir.answers import serve_palantir
from tests.sources.upstream import upstream
from tests.support.beacon_server import ROOT, Beacon
from tests.support.machine import scaled
from tests.support.processes import command_line
from tests.support.waiting import wait_for

TAKE_OVER_S = 20.0


@pytest.fixture
def beacon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Beacon]:
    """With the supervisor."""
    monkeypatch.setattr(Beacon, "fork_server", None)
    running = Beacon(tmp_path, POLL_INTERVAL_S=0.5, DRAIN_S=1)
    running.start()
    wait_for(lambda: len(running.background_pids()) == 1, "the worker")
    yield running
    running.end()


def samples(beacon: Beacon) -> int:
    count: int = beacon.sql("SELECT count(*) FROM check_sample")[0][0]
    return count


def test_a_killed_worker_is_started_again_and_a_reload_and_a_stop_reach_everything(beacon: Beacon) -> None:
    with upstream() as service:
        serve_palantir(service, {"queued": ["a"]})
        beacon.watch("mail", service.url)
        wait_for(lambda: samples(beacon) > 0, "the first poll", TAKE_OVER_S)
        [killed], web, master = beacon.background_pids(), beacon.worker_pids(), beacon.master_pid
        os.kill(killed, signal.SIGKILL)
        # Ten seconds pass, as far as the database can tell; test_polling.py waits for them.
        beacon.sql("UPDATE lease SET expires_at = 0 WHERE name = 'poller'")
        wait_for(lambda: beacon.background_pids() not in ([killed], []), "another worker", within_s=2)
        before = samples(beacon)
        wait_for(lambda: samples(beacon) > before, "it to poll", TAKE_OVER_S)
        assert beacon.worker_pids() == web
        assert beacon.log_text().count("the worker ended (signal 9): it is started again") == 1

        old = {*web, *beacon.background_pids()}
        os.kill(beacon.supervisor_pid, signal.SIGHUP)

        def is_replaced() -> bool:
            now = {*beacon.worker_pids(), *beacon.background_pids()}
            return len(now) == 2 and not now & old

        wait_for(is_replaced, "a reload to replace all workers", TAKE_OVER_S)
        wait_for(lambda: beacon.log_text().count("acquired the lease poller") == 3, "the new one to poll", TAKE_OVER_S)
    assert beacon.master_pid == master
    assert beacon.log_text().count("the worker ended") == 1

    group = beacon.supervisor_pid
    beacon.stop()
    assert members(group) == []
    assert beacon.sql("SELECT expires_at FROM lease WHERE name = 'poller'") == [(0.0,)]


def test_a_killed_supervisor_leaves_nothing_behind(beacon: Beacon) -> None:
    group = beacon.supervisor_pid
    assert len(members(group)) == 4
    os.kill(group, signal.SIGKILL)
    wait_for(lambda: members(group) == [], "every process to end")


def test_web_workers_and_a_worker_run_apart(tmp_path: Path) -> None:
    """As on two hosts. Without a worker the web server is the process that was started."""
    beacon, log = Beacon(tmp_path, background=0, POLL_INTERVAL_S=0.5, DRAIN_S=0), tmp_path / "log"
    serve = [sys.executable, "-m", "app.cli.main", "serve", "--web-only"]
    with upstream() as service, log.open("wb") as file:
        serve_palantir(service, {"queued": ["a"]})
        beacon.watch("mail", service.url)
        both = [
            subprocess.Popen(command, cwd=ROOT, env=beacon.environment, stdout=file, stderr=file)
            for command in (serve, processes.worker_command())
        ]
        try:
            wait_for(lambda: "Booting worker" in log.read_text(), "a web worker", 30)
            assert "gunicorn" in command_line(both[0].pid)
            wait_for(lambda: samples(beacon) > 0, "a poll", TAKE_OVER_S)
        finally:
            for process in both:
                process.terminate()
            statuses = [process.wait(scaled(20)) for process in both]
            beacon.end()
    assert statuses == [0, 0]
