"""The stream over real sockets."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import requests

from tests.live.conftest import MakeBeacon
from tests.support.beacon_server import Beacon, write_lock
from tests.support.live_stream import LiveStream
from tests.support.machine import ROOM_S, scaled
from tests.support.waiting import wait_for

EVENTS = "/api/stream/events"


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    """The server that most tests share, with more heartbeats than usual."""
    running = Beacon(tmp_path_factory.mktemp("beacon"), background=0, HEARTBEAT_S=0.1)
    running.start()
    yield running
    running.end()


def open_stream(beacon: Beacon, user: str = "alice", query: str = "", **headers: str) -> LiveStream:
    stream = LiveStream(f"{beacon.url}{EVENTS}?{query}", {**beacon.bearer(user, "stream"), **headers})
    assert stream.status == 200, stream.status
    stream.wait_named("hello")
    return stream


def insert_by_hand(beacon: Beacon, event_type: str) -> None:
    """A separate process that knows nothing but the table."""
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2], (sys.argv[3],)); c.commit()"
    statement = "INSERT INTO event (type, data_json) VALUES (?, '{}')"
    subprocess.run([sys.executable, "-c", code, str(beacon.database), statement, event_type], check=True)


def test_a_row_inserted_by_another_process_reaches_an_open_stream_within_a_second(beacon: Beacon) -> None:
    with open_stream(beacon) as stream:
        insert_by_hand(beacon, "by.hand")
        committed = time.monotonic()
        stream.wait_named("by.hand", within_s=5)
        assert stream.arrived[-1] - committed < scaled(1.0 + ROOM_S)


def test_a_stream_that_was_cut_resumes_with_every_event_once_and_in_order(beacon: Beacon) -> None:
    with open_stream(beacon) as before:
        first = beacon.publish([{"type": "cut.before", "data": {"n": n}} for n in range(20)])
        before.wait_id(first[-1])
    missed = beacon.publish([{"type": "cut.missed", "data": {"n": n}} for n in range(700)])
    with open_stream(beacon, **{"Last-Event-ID": before.last_id}) as after:
        later = beacon.publish([{"type": "cut.after", "data": {}}])
        after.wait_id(later[-1])
        assert after.ids() == [*missed, *later]
        assert after.named("reset") == []


def test_events_published_while_a_stream_opens_come_once_and_in_order(beacon: Beacon) -> None:
    """The switch from replay to live, hit again and again by a publisher that does not stop."""
    start = beacon.head()
    with ThreadPoolExecutor() as pool:
        publishing = pool.submit(lambda: [beacon.publish([{"type": "busy", "data": {"n": n}}])[0] for n in range(300)])
        streams = []
        while not publishing.done() and len(streams) < 40:
            streams.append(open_stream(beacon, **{"Last-Event-ID": str(start)}))
        published = publishing.result()
    assert len(streams) > 5
    for stream in streams:
        stream.wait_id(published[-1])
        assert stream.ids() == published
        stream.cut()


def test_an_event_published_through_one_worker_reaches_streams_on_both(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon(WORKERS=2)
    streams = [open_stream(beacon) for _ in beacon.each_worker_alone()]
    assert len(stream_workers(beacon)) == 2
    ids = [beacon.publish([{"type": "both", "data": {"n": n}}])[0] for n in range(20)]
    for stream in streams:
        stream.wait_id(ids[-1], within_s=5)
        assert stream.ids() == ids
        stream.cut()


def stream_workers(beacon: Beacon) -> set[str]:
    """The processes that have opened streams, from the log."""
    return {line.split("pid=")[1].split()[0] for line in beacon.log_text().splitlines() if "[SSE] open" in line}


def test_a_held_write_lock_does_not_stall_the_loop(beacon: Beacon) -> None:
    """Pages, heartbeats and the loop go on; the write itself waits and then succeeds."""
    headers = beacon.bearer("bob", "publish", "read")
    with open_stream(beacon) as stream, ThreadPoolExecutor() as pool:
        calm = answers(f"{beacon.url}/api/events?limit=1", headers, lasting(0.5))
        with write_lock(beacon.database):
            publishing = pool.submit(beacon.publish, [{"type": "patient", "data": {}}])
            began = time.monotonic()
            held = answers(f"{beacon.url}/api/events?limit=1", headers, lasting(2.0))
            assert not publishing.done(), "the write did not wait for the lock"
        ids = publishing.result()
        stream.wait_id(ids[-1])
        beats = [at for at, frame in zip(stream.arrived, stream.frames, strict=True) if frame.event == "heartbeat"]
        during = [at for at in beats if began <= at <= began + 2.0]
    assert len(during) >= 10
    assert held > calm, "a fourth of what is answered while nobody writes"


def answers(url: str, headers: dict[str, str], is_over: Callable[[], bool]) -> int:
    """How many requests, one after the other, were answered until it was over."""
    count = 0
    with requests.Session() as session:
        while not is_over():
            assert session.get(url, headers=headers, timeout=scaled(10)).status_code == 200
            count += 1
    return count


def lasting(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def test_sigterm_says_goodbye_and_the_next_process_misses_nothing(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon()
    with open_stream(beacon) as stream:
        seen = beacon.publish([{"type": "before.restart", "data": {}}])
        stream.wait_id(seen[-1])
        began = time.monotonic()
        beacon.stop()
        assert time.monotonic() - began < scaled(8)
        assert stream.named("bye")[0].json() == {"reason": "drain", "poll": False}
    with closing(sqlite3.connect(beacon.database)) as outsider, outsider:
        outsider.execute("INSERT INTO event (type, data_json) VALUES ('while.down', '{}')")
    beacon.start()
    with open_stream(beacon, **{"Last-Event-ID": stream.last_id}) as resumed:
        resumed.wait_named("while.down")
        assert resumed.ids() == [seen[-1] + 1]


def test_the_database_away_leaves_streams_open_and_all_goes_on_when_it_is_back(beacon: Beacon) -> None:
    browser = beacon.log_in("alice")
    headers = beacon.bearer("ada", "publish")
    away = beacon.folder / "away"
    away.mkdir()
    parts = [beacon.folder / f"beacon.db{suffix}" for suffix in ("", "-wal", "-shm")]
    with open_stream(beacon) as stream:
        stream.wait_named("heartbeat")
        for part in parts:
            part.rename(away / part.name)
        wait_for(lambda: stream.named("heartbeat")[-1].json()["degraded"], "a degraded heartbeat")
        page = browser.get(f"{beacon.url}/", timeout=scaled(10))
        assert page.status_code == 503
        assert "cannot reach its database" in page.text
        assert requests.get(f"{beacon.url}/readyz", timeout=scaled(10)).status_code == 503
        refused = requests.post(
            f"{beacon.url}/api/events", json={"type": "a", "data": {}}, headers=headers, timeout=scaled(10)
        )
        assert refused.status_code == 503
        for part in parts:
            (away / part.name).rename(part)
        wait_for(lambda: not stream.named("heartbeat")[-1].json()["degraded"], "a good heartbeat")
        ids = beacon.publish([{"type": "back.again", "data": {}}])
        stream.wait_id(ids[-1])
        assert not stream.closed.is_set()
        assert browser.get(f"{beacon.url}/", timeout=scaled(10)).status_code == 200


def test_logging_out_ends_the_streams_of_that_session_within_a_second(beacon: Beacon) -> None:
    leaving, staying = beacon.log_in("alice"), beacon.log_in("alice")
    streams = [
        LiveStream(f"{beacon.url}{EVENTS}", {"Cookie": f"beacon={browser.cookies['beacon']}"})
        for browser in (leaving, staying)
    ]
    for stream in streams:
        stream.wait_named("hello")
    token = leaving.get(f"{beacon.url}/", timeout=scaled(10)).text.split('name="csrf-token" content="')[1].split('"')[0]
    answer = leaving.post(f"{beacon.url}/logout", data={"csrf_token": token}, timeout=scaled(10), allow_redirects=False)
    assert answer.status_code == 303
    ended = time.monotonic()
    assert streams[0].wait_named("bye", within_s=5).json() == {"reason": "revoked", "poll": False}
    assert streams[0].arrived[-1] - ended < scaled(1.0 + ROOM_S)
    assert streams[1].named("bye") == []
    for stream in streams:
        stream.cut()


def test_switching_the_flag_off_ends_streams_and_polling_still_sees_everything(start_beacon: MakeBeacon) -> None:
    beacon = start_beacon()
    with open_stream(beacon) as stream:
        beacon.set_rollout(100, enabled=False)
        assert stream.wait_named("bye").json() == {"reason": "flag-off", "poll": True}
        wait_for(stream.closed.is_set, "the stream's end")
    refused = requests.get(f"{beacon.url}{EVENTS}", headers=beacon.bearer("alice", "stream"), timeout=scaled(10))
    assert refused.status_code == 403
    assert refused.json()["reason"] == "flag-off"
    ids = beacon.publish([{"type": "quiet", "data": {}}])
    polled = requests.get(
        f"{beacon.url}/api/events/frames?after={ids[0] - 1}",
        headers=beacon.bearer("alice", "stream"),
        timeout=scaled(10),
    )
    assert polled.status_code == 200
    assert '"stream":"off"' in polled.text
    assert f"id: {ids[0]}\n" in polled.text


def test_a_vanished_client_leaves_no_subscriber(beacon: Beacon) -> None:
    wait_for(lambda: logged(beacon, "open") == logged(beacon, "close"), "the end of other tests' streams")
    before = logged(beacon, "close")
    streams = [open_stream(beacon) for _ in range(20)]
    for stream in streams:
        stream.cut()
    wait_for(lambda: logged(beacon, "close") == before + 20, "twenty closed streams in the log")


def logged(beacon: Beacon, what: str) -> int:
    """How many streams were opened, or closed."""
    return beacon.log_text().count(f"[SSE] {what}")


def test_a_long_replay_does_not_keep_the_loop_from_others(start_beacon: MakeBeacon) -> None:
    """Twenty thousand events to one fast reader; whoever else asks meanwhile is answered between them."""
    beacon = start_beacon()
    with closing(sqlite3.connect(beacon.database)) as outsider, outsider:
        rows = (("job.queued", f'{{"service": "mail", "jobId": "{n}"}}') for n in range(20_000))
        outsider.executemany("INSERT INTO event (type, data_json) VALUES (?, ?)", rows)
    head = beacon.head()
    with open_stream(beacon, query="as=html", **{"Last-Event-ID": str(head - 20_000)}) as stream:
        others = answers(f"{beacon.url}/healthz", {}, lambda: len(stream.frames) > 20_000)
        stream.wait_id(head)
        assert stream.ids() == list(range(head - 20_000 + 1, head + 1))
    assert others > 20, "all at once hardly anybody would be answered"


def test_many_logins_at_once_leave_pages_and_the_database_to_others(beacon: Beacon) -> None:
    unavailable = beacon.log_text().count("database is unavailable")
    reader = beacon.log_in("ada")
    with ThreadPoolExecutor(20) as pool:
        logins = [pool.submit(beacon.log_in, "alice") for _ in range(20)]
        while not all(login.done() for login in logins):
            assert reader.get(f"{beacon.url}/", timeout=scaled(10)).status_code == 200
        for login in logins:
            login.result()
    assert beacon.log_text().count("database is unavailable") == unavailable


def test_a_body_that_announces_no_length_is_held_to_the_same_limit(beacon: Beacon) -> None:
    headers = {**beacon.bearer("ada", "publish"), "Content-Type": "application/json"}
    chunks = (b" " * 1024 * 1024 for _ in range(10))
    answer = requests.post(f"{beacon.url}/api/events", data=chunks, headers=headers, timeout=scaled(30))
    assert answer.status_code == 413
