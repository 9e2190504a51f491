"""Start, stop, restart: the process as those who run it see it."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.support.demo_service import ROOT, DemoService
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

COUNTS = "/api/v1/jobs/counts"


def test_it_listens_on_the_loopback_interface_only(demo_service: DemoService) -> None:
    parts = urlsplit(demo_service.url)
    assert parts.hostname == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", parts.port or 0), timeout=scaled(2))


def test_jobs_ends_and_calls_survive_a_restart(start: Any) -> None:
    first = start()
    first.create_jobs({"id": "f", "state": "failed"}, {"id": "r", "state": "running"}, {"id": "d"})
    first.command("DELETE", "/api/v1/jobs/d", key="k")
    before = first.counts()
    first.stop()

    second = start()
    after = second.counts()
    assert after["counts"] == before["counts"]
    assert after["revision"] >= before["revision"]
    assert after["instanceId"] != before["instanceId"]
    assert second.get("/api/v1/jobs/d").json()["state"] == "deleted"
    assert [call["idempotencyKey"] for call in second.calls()] == ["k"]
    assert second.command("DELETE", "/api/v1/jobs/d", key="k").status_code == 200
    assert len(second.calls()) == 1


def test_what_was_answered_survives_a_crash(start: Any) -> None:
    first = start()
    job = first.create_job(state="running")
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert start().get(f"/api/v1/jobs/{job['id']}").json() == job


def test_lively_jobs_go_on_after_a_restart(start: Any) -> None:
    first = start(quiet_jobs=False)
    unfinished = first.counts()["counts"]
    first.stop()
    second = start(quiet_jobs=False)
    again = second.counts()["counts"]
    assert again["queued"] >= unfinished["queued"] + unfinished["running"]


def test_a_fixed_port_is_kept_over_a_restart(start: Any) -> None:
    first = start()
    port = urlsplit(first.url).port
    first.get("/api/v1/health")
    first.stop()
    assert urlsplit(start(port=port).url).port == port


# Soon, beside the minute for which it hangs or refuses.
END_S = 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_and_soon_while_requests_hang(demo_service: DemoService, number: signal.Signals) -> None:
    demo_service.fault("hang")
    asked = [threading.Thread(target=ask_in_vain, args=(demo_service,), daemon=True) for _ in range(3)]
    for thread in asked:
        thread.start()
    wait_for(lambda: demo_service.get("/_fault").json()["waiting"] == 3)
    started = time.monotonic()
    assert demo_service.stop(number) == 0
    assert time.monotonic() - started < scaled(END_S)


def ask_in_vain(service: DemoService) -> None:
    with pytest.raises(requests.ConnectionError):
        service.get(COUNTS)


def test_it_ends_cleanly_and_soon_while_it_refuses(demo_service: DemoService) -> None:
    demo_service.fault("refuse", seconds=60)
    started = time.monotonic()
    assert demo_service.stop() == 0
    assert time.monotonic() - started < scaled(END_S)


def test_it_ends_when_its_parent_goes_away(tmp_path: Path) -> None:
    launcher = (
        "import subprocess, sys;"
        "p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True);"
        "print(p.stdout.readline().split()[-1], flush=True)"
    )
    demo = ["-m", "demo", "--with-parent", "--quiet-jobs", "--database", str(tmp_path / "x.db")]
    gone = subprocess.run(
        [sys.executable, "-c", launcher, sys.executable, *demo],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=scaled(20),
    )
    wait_for(lambda: unreachable(gone.stdout.strip()))


def unreachable(url: str) -> bool:
    try:
        requests.get(f"{url}/api/v1/health", timeout=scaled(2))
    except requests.ConnectionError:
        return True
    return False


def test_the_port_comes_from_the_environment_unless_given(start: Any) -> None:
    port, other = free_port(), free_port()
    assert start(env={"DEMO_PORT": str(port)}, port=None).url == f"http://127.0.0.1:{port}"
    assert start(env={"DEMO_PORT": str(port)}, port=other, database="o.db").url == f"http://127.0.0.1:{other}"


def test_health_tells_the_name(start: Any) -> None:
    assert start(name="orders").get("/api/v1/health").json()["name"] == "orders"


def run_demo(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=scaled(20),
        check=False,
    )


def test_a_taken_port_is_said_in_one_line(demo_service: DemoService, tmp_path: Path) -> None:
    port = str(urlsplit(demo_service.url).port)
    result = run_demo("--database", str(tmp_path / "y.db"), "--port", port)
    assert result.returncode == 1
    assert result.stderr.startswith("demo: ")
    assert port in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unusable_database_is_said_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 100)
    newer = tmp_path / "newer.db"
    with closing(sqlite3.connect(newer)) as db, db:
        db.execute("PRAGMA user_version = 99")
    for path in (text, newer, tmp_path / "nowhere" / "x.db"):
        result = run_demo("--database", str(path))
        assert result.returncode == 1
        assert str(path) in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [["--speed", "0"], ["--speed", "nan"], ["--port", "70000"], ["--port", "x"]])
def test_an_argument_out_of_range_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    assert run_demo("--database", str(tmp_path / "z.db"), *arguments).returncode == 2
