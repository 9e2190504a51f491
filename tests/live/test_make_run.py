"""What `make run` starts: all of it comes up, says where it is, and all of it goes away."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from app.infra.demo_guide import read_guide
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

# A load balancer is given two seconds to see that a server leaves: here there is none.
QUICK = {"BEACON_DRAIN_S": "1"}


@contextmanager
def beacon_demo(folder: Path, port: int, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The `beacon demo` command in a session of its own, as a terminal would start it; `settings` by their names."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BEACON_")}
    output = folder / "output.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", "from app.cli.main import main; main()", "demo"],
            cwd=ROOT,
            env={
                **environment,
                "BEACON_INSTANCE_DIR": str(folder / "instance"),
                "PORT": str(port),
                **QUICK,
                **settings,
            },
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process, output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(scaled(5))


def members(session: int) -> list[str]:
    """The living processes of a session: some are in a process group of their own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(entry.name)
    return found


def processor_s(session: int) -> float:
    """What the processes of a session have used, with their children that have ended."""
    ticks = 0
    for pid in members(session):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_started(process: subprocess.Popen[bytes], output: Path) -> str:
    wait_for(lambda: "Ctrl-C" in output.read_text() or process.poll() is not None, "the addresses", 60)
    text = output.read_text()
    assert process.poll() is None, text
    return text


def wait_ended(process: subprocess.Popen[bytes], output: Path) -> None:
    status = process.wait(scaled(30))
    wait_for(lambda: members(process.pid) == [], "every process to end")
    text = output.read_text()
    assert (status, "Traceback" in text) == (0, False), text


@dataclass(frozen=True, slots=True)
class Started:
    """One start in a folder, and what there was until it was over."""

    folder: Path
    port: int
    text: str
    health: str
    processor_s: float


def run_once(folder: Path, end: Callable[[int], None]) -> Started:
    """Start it, have it ended, and see every process go."""
    port = free_port()
    with beacon_demo(folder, port) as (process, output):
        text = wait_started(process, output)
        used_s = processor_s(process.pid)
        service = re.search(r"demo job service +(http://\S+)", text)
        assert service
        health = requests.get(f"{service[1]}/api/v1/health", timeout=scaled(5)).json()["status"]
        end(process.pid)
        wait_ended(process, output)
    return Started(folder, port, text, health, used_s)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Started:
    """A terminal's Ctrl-C reaches the whole group."""
    return run_once(tmp_path_factory.mktemp("run"), lambda leader: os.killpg(leader, signal.SIGINT))


def logins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^  (viewer|operator|product|admin) +(\S+)$", text, re.MULTILINE))


def test_it_prints_addresses_and_logins_and_ctrl_c_stops_every_process(first: Started) -> None:
    assert f"http://127.0.0.1:{first.port}" in first.text
    assert "feature flags     stored in Beacon's own database; enable_sse_streaming at 100 %" in first.text
    assert first.health == "ok"
    assert set(logins(first.text)) == {"viewer", "operator", "product", "admin"}
    assert len(set(logins(first.text).values())) == 4


def test_six_services_run_two_of_them_on_a_real_rq_and_the_help_page_knows_them(first: Started) -> None:
    told = re.findall(r"^demo job service +(\w+)://\S+ +\((.+)\)$", first.text, re.MULTILINE)
    assert sorted(told) == [
        ("http", "Billing"),
        ("http", "Newsletter"),
        ("http", "Search index"),
        ("http", "Shop"),
        ("redis", "Exports"),
        ("redis", "Thumbnails"),
    ]
    assert [service.title for service in read_guide(first.folder / "instance")] == [title for _, title in told]


def test_a_second_start_prints_the_same_logins_and_is_quick(first: Started) -> None:
    """This one ends as a supervisor does it, who signals the process that it started."""
    second = run_once(first.folder, lambda leader: os.kill(leader, signal.SIGTERM))
    assert logins(second.text) == logins(first.text)
    assert second.processor_s < scaled(5.0)  # a busy machine stretches the time that passes


@pytest.mark.long
def test_a_closed_terminal_stops_every_process(first: Started) -> None:
    """All of the group are signalled, as by Ctrl-C, and with the signal of a supervisor."""
    run_once(first.folder, lambda leader: os.killpg(leader, signal.SIGTERM))


def test_a_busy_port_gets_one_clear_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with beacon_demo(tmp_path, port) as (process, said):
            assert process.wait(scaled(30)) == 1
            lines = said.read_text().strip().splitlines()
    assert len(lines) == 1, lines
    assert f"port {port}" in lines[0]
    assert "choose another" in lines[0]
