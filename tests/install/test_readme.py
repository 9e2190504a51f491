"""The README's blocks, run one after the other as they are; only the two ports are replaced."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from tests.install.installed import PASSWORD, answers, clean_environment
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

README = (ROOT / "README.md").read_text()
# These run until somebody ends them.
ENDLESS = re.compile(r"^(make run|\S*beacon serve|curl -N .*)$")


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_a_queue_of_ones_own_takes_five_lines() -> None:
    section = README.split("## Your own queue in five lines")[1]
    (block, *_) = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(block.splitlines()) == 5


def test_the_first_screenful_says_what_no_other_dashboard_does_and_shows_it() -> None:
    first = "\n".join(README.splitlines()[:45])
    for promise in (
        "names what is missing",
        "verifies what it did",
        "seals who did it",
        "never loses an event",
        "evidence",
    ):
        assert promise in first
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", first)
    assert (ROOT / picture).exists()
    assert "## Two commands" in first


@pytest.mark.long
def test_every_block_runs_as_it_stands(tmp_path: Path) -> None:
    """`make run` is what it starts, `beacon demo`; that make itself works is for tests/live/test_make_run.py."""
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    demo, own = free_port(), free_port()
    environment = clean_environment() | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "BEACON_DRAIN_S": "1"}
    texts = [text.replace("8000", str(demo)).replace("8001", str(own)) for text in blocks()]
    two_commands, rest = texts[0], texts[1:]
    assert [line.split("#")[0].strip() for line in two_commands.splitlines()] == ["make run", "make test"]
    with ExitStack() as stack:
        started = terminal(tmp_path, environment | {"PORT": str(demo)}, ".venv/bin/beacon demo", "demo")
        stack.enter_context(started)
        wait_for(lambda: answers(f"http://127.0.0.1:{demo}"), "the demo", 120)
        wait_for(lambda: "Ctrl-C" in (tmp_path / "demo.log").read_text(), "its addresses", 60)
        told = [stack.enter_context(typed(tmp_path, environment, text, number)) for number, text in enumerate(rest)]
        lost, own_queue, read = told
        assert "Lost 3 of the 3 jobs" in lost
        assert "added alice (admin)" in own_queue
        assert '"ids"' in read
        output = tmp_path / "2-endless.log"
        wait_for(lambda: '"jobId": "7f3"' in output.read_text() or '"jobId":"7f3"' in output.read_text(), "the event")
        assert requests.get(f"http://127.0.0.1:{own}/login", timeout=scaled(10)).ok


@contextmanager
def typed(folder: Path, environment: dict[str, str], block: str, number: int) -> Iterator[str]:
    """Yield what a block prints. A last command that does not end by itself runs until the end of the test."""
    lines = block.replace("\\\n", " ").splitlines()
    endless = ENDLESS.match(lines[-1].split(" # ")[0].strip())
    now = lines[:-1] if endless else lines
    done = subprocess.run(
        ["bash", "-ec", "\n".join([*now, "export -p > state"])],
        cwd=folder,
        env=environment,
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        timeout=scaled(120),
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    if not endless:
        yield done.stdout
        return
    # The last command needs the variables of the block, exported or not.
    assigned = "\n".join(line for line in now if re.match(r"(export )?[A-Z_]+=", line))
    with terminal(folder, environment, f"{assigned}\n{lines[-1]}", f"{number}-endless"):
        if "beacon serve" in lines[-1]:
            port = re.search(r"PORT=(\d+)", block)
            assert port
            wait_for(lambda: answers(f"http://127.0.0.1:{port[1]}"), "the server of the block", 120)
        yield done.stdout


@contextmanager
def terminal(folder: Path, environment: dict[str, str], command: str, name: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        # As a terminal's Ctrl-C does, to everything in it.
        os.killpg(process.pid, signal.SIGINT)
        process.wait(scaled(60))
