"""TLS at gunicorn itself: no socket can be handed off, a generator serves the same stream."""

import shutil
import signal
import ssl
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.live import probe
from tests.live.certificates import make_certificate
from tests.live.conftest import MakeBeacon
from tests.live.fleet import EVENTS
from tests.live.raw import Credential, Raw, dechunked, frames_only, publish_and_see
from tests.support.beacon_server import Beacon, servers
from tests.support.machine import scaled

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command to make a certificate with")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path)


@pytest.fixture
def start_beacon(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[MakeBeacon]:
    """Speaks TLS only; everything in this process that asks it trusts its certificate."""
    cert, key = certificate
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(cert))
    monkeypatch.setattr(Beacon, "SCHEME", "https")
    for start in servers(tmp_path, Beacon.end):
        yield partial(start, config=probe.CONFIG, PROBE_CERT=cert, PROBE_KEY=key)


@pytest.fixture
def context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


def test_the_generator_serves_the_same_stream_and_leaves_nothing_behind(
    start_beacon: MakeBeacon, context: ssl.SSLContext
) -> None:
    beacon = start_beacon(HEARTBEAT_S=0.3)
    (pid,) = beacon.worker_pids()
    missed = beacon.publish([{"type": "wire.check", "data": {"n": n}} for n in range(700)])
    credential = Credential.of(beacon)
    with Raw(beacon, context) as raw, Raw(beacon, context) as leaving:
        leaving.send(credential.request(EVENTS))
        leaving.until(b"event: hello\n")
        raw.send(credential.request(EVENTS, f"Last-Event-ID: {missed[0]}") + credential.request("/healthz"))
        event_id = publish_and_see(beacon, raw)
        raw.until(b"event: heartbeat\n")
        report = probe.ask(pid)
        assert (report.subscribers, report.wires, report.checked_out) == (2, 0, 0)
        leaving.close()
        probe.settled(pid, lambda found: found.subscribers == 1, "the one that left")
        credential.revoke()
        raw.until(b"\r\n0\r\n\r\n")
        stream, _ = dechunked(raw.body)
    frames = frames_only(stream)
    assert [int(frame.id) for frame in frames if frame.id] == [*missed[1:], event_id]
    assert (frames[0].event, frames[-1].event) == ("hello", "bye")
    probe.settled(pid, lambda found: (found.subscribers, found.seats, found.gauge) == (0, 0, 0), "no open stream")


def test_a_drain_says_goodbye_and_the_next_process_misses_nothing(
    start_beacon: MakeBeacon, context: ssl.SSLContext
) -> None:
    beacon = start_beacon(DRAIN_S=3)
    credential = Credential.of(beacon)
    with Raw(beacon, context) as raw:
        raw.send(credential.request(EVENTS))
        raw.until(b"event: hello\n")
        seen = publish_and_see(beacon, raw)
        began = time.monotonic()
        beacon.signal(signal.SIGTERM)
        raw.until(b"\r\n0\r\n\r\n", within_s=3)
        stream, rest = dechunked(raw.body)
    assert rest == b""
    assert frames_only(stream)[-1].json() == {"reason": "drain", "poll": False}
    beacon.stop()
    assert time.monotonic() - began < scaled(3 + 5)
    beacon.sql("INSERT INTO event (type, data_json) VALUES ('while.down', '{}')")
    beacon.start()
    with Raw(beacon, context) as raw:
        raw.send(credential.request(EVENTS, f"Last-Event-ID: {seen}"))
        raw.until(b"event: while.down\n")
        assert b"id: %d\n" % (seen + 1) in raw.body
        assert b"event: reset\n" not in raw.body


def test_a_reader_that_stands_still_over_tls_holds_up_nobody_and_loses_nothing(
    start_beacon: MakeBeacon, context: ssl.SSLContext
) -> None:
    beacon = start_beacon(HEARTBEAT_S=0.3, PUBLISH_RATE_PER_USER=10_000)
    credential = Credential.of(beacon)
    with Raw(beacon, context) as still, Raw(beacon, context) as reading:
        for raw in (still, reading):
            raw.send(credential.request(EVENTS))
            raw.until(b"event: hello\n")
        ids: list[int] = []
        for _ in range(5):
            ids += beacon.publish([{"type": "wire.check", "data": {"text": "x" * 50_000}} for _ in range(20)])
            reading.until(b"id: %d\n" % ids[-1])
        assert beacon.is_ready()
        still.until(b"id: %d\n" % ids[-1], within_s=30)
        credential.revoke()
        for raw in (still, reading):
            raw.until(b"\r\n0\r\n\r\n")
            frames = frames_only(dechunked(raw.body)[0])
            assert [int(frame.id) for frame in frames if frame.id] == ids


def test_clients_that_do_not_complete_a_handshake_are_let_go_without_a_traceback(
    start_beacon: MakeBeacon, context: ssl.SSLContext
) -> None:
    """They have as long as for the head of a request; test_stalled_clients.py waits for the real time."""
    beacon = start_beacon(background=0, PROBE_KEEPALIVE=1)
    with Raw(beacon) as silent, Raw(beacon) as slow, Raw(beacon) as plain:
        plain.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.to_the_end()
        slow.send(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        for stalled in (silent, slow):
            stalled.to_the_end()
            assert stalled.received == b""
    with Raw(beacon, context) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.until(b"\r\n\r\n")
        assert raw.head.startswith(b"HTTP/1.1 200 ")
    assert "Traceback" not in beacon.log_text()
