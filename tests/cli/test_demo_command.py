"""What `beacon demo` says when it cannot start; that it starts is tested in `live/test_make_run.py`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from app.cli import demo, demo_history
from app.config import Settings
from app.db import read, write
from app.eventlog.models import EventRow
from app.infra.clock import utc_now, utc_text
from app.infra.demo_guide import parse_guide
from app.reconciliation.models import CheckSample
from tests.support.machine import scaled
from tests.support.ports import free_port

CHILD = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two that stay until they are ended, as the job service and the web server do."""
    running = [subprocess.Popen(CHILD, stdin=subprocess.PIPE) for _ in range(2)]
    yield running
    for child in running:
        child.communicate()


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.0.2.7", "::", "beacon.example"])  # noqa: S104 -- refused
def test_it_is_for_this_machine_alone(tmp_path: Path, bind: str) -> None:
    with pytest.raises(demo.CannotStart, match=f"BEACON_BIND is {bind}: unset it"):
        demo.run(Settings(instance_dir=tmp_path / "never", bind=bind))
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_has_several_names(bind: str) -> None:
    assert demo._is_loopback(bind)


def test_a_server_that_is_slow_is_waited_for_and_then_its_last_words_are_told(
    tmp_path: Path,
    children: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(demo, "SILENCE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(demo, "PROGRESS_INTERVAL_S", 0.1)
    settings = Settings(instance_dir=tmp_path, port=free_port())
    (tmp_path / "demo_web.log").write_text("\n".join(f"line {n}" for n in range(100)))
    with pytest.raises(
        demo.CannotStart, match=r"not ready and has written nothing for 0 s. The end of .*demo_web.log:\nline 80\n"
    ) as told:
        demo._wait_ready(settings, children)
    assert str(told.value).endswith("line 99")
    assert "still waiting for the web server" in capsys.readouterr().out


def test_a_server_that_goes_on_writing_its_log_is_waited_for(
    tmp_path: Path, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SILENCE_TIMEOUT_S", scaled(0.5))
    settings, log = Settings(instance_dir=tmp_path, port=free_port()), tmp_path / "demo_web.log"
    lines = int(2 * scaled(0.5) / 0.05)  # a look every 0.05 s, or less often: twice the time, and each line in time
    sizes = iter(range(1, lines))

    def write_a_line(_: Settings) -> int:
        log.write_text("line\n" * next(sizes, lines))
        return log.stat().st_size

    monkeypatch.setattr(demo, "_log_size", write_a_line)
    with pytest.raises(demo.CannotStart):
        demo._wait_ready(settings, children)
    assert next(sizes, None) is None, "each line begins the wait anew"


def test_a_server_that_ends_is_told_at_once(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    children[1].communicate()
    settings = Settings(instance_dir=tmp_path, port=free_port())
    with pytest.raises(demo.CannotStart, match=r"the web server ended \(status 0\).*There is no output in"):
        demo._wait_ready(settings, children)


def test_the_hour_before_the_first_start_is_invented_once(app: Flask) -> None:
    texts = ("title", "url", "shows", "breaks", "breakCommand", "mends", "mendCommand")
    [newsletter] = parse_guide(json.dumps([{"id": "newsletter", **dict.fromkeys(texts, "x")}]))
    with app.app_context():
        for _ in range(2):
            with write() as session:
                demo_history.invent_hour(session, [newsletter])
        with read() as session:
            samples = session.scalars(sa.select(CheckSample).order_by(CheckSample.at)).all()
            [deploy] = session.scalars(sa.select(EventRow)).all()
    assert len(samples) == 180
    assert utc_text(utc_now() - timedelta(minutes=61)) < samples[0].at < samples[-1].at < utc_text(utc_now())
    assert [json.loads(samples[at].counts_json)["failed"] for at in (0, -1)] == [0, 31]
    assert deploy.type == "deploy.done"
    assert samples[0].at < deploy.created_at < samples[-1].at
