"""Parsed by clients that others wrote: no payload forges a frame, whatever it holds and however large it is."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import ld_eventsource
import pytest
import requests
import requests_sse
import sseclient
from ld_eventsource.config import ConnectStrategy

from app.eventlog.event_types import MAX_PAYLOAD_BYTES
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.waiting import wait_for

PATHS = ["/api/stream/events", "/api/events/stream", "/api/sse"]
OWN = {"hello", "heartbeat", "bye", "reset"}
HOSTILE = [
    'x\n\nid: 999\nevent: bye\ndata: {"reason":"flag-off","poll":true}\n\n',
    'x\r\rid: 999\revent: reset\rdata: {"head":0}\r\r',
    "x\r\n\r\nid: 999\r\nevent: heartbeat\r\ndata: forged\r\n\r\n",
    "x\u2028\u2028id: 999\u2029event: bye\u2029data: forged\u2028\u2028",
    "x\x85\x85id: 999\x85event: bye\x85data: forged\x85\x85",
    "x\x0b\x0cid: 999\x0b\x0cdata: forged\x1c\x1d\x1e",
    "x\0id: 999\0event: bye\0data: forged\0\0",
    "\ufeffid: 999",
    "id: 999",
    "event: bye",
    "retry: 1",
    ":",
    "",
    " leading and trailing ",
    "\U0001f680 ünï",
]


@dataclass(frozen=True, slots=True)
class Seen:
    """One event, as a client has told it."""

    id: str | None
    name: str
    data: str

    def text(self) -> str:
        """What the publisher wrote; on all these paths it is the `data` within."""
        found: str = json.loads(self.data)["data"]["text"]
        return found


Client = Callable[[str, dict[str, str], str], Iterator[Seen]]


def by_sseclient(url: str, headers: dict[str, str], after: str) -> Iterator[Seen]:
    answer = requests.get(url, headers={**headers, "Last-Event-ID": after}, stream=True, timeout=scaled(20))
    with closing(answer):
        for event in sseclient.SSEClient(answer).events():
            yield Seen(event.id, event.event, event.data)


def by_requests_sse(url: str, headers: dict[str, str], after: str) -> Iterator[Seen]:
    with requests_sse.EventSource(url, headers=headers, latest_event_id=after, timeout=scaled(20)) as source:
        for event in source:
            yield Seen(event.last_event_id, event.type, event.data)


def by_launchdarkly(url: str, headers: dict[str, str], after: str) -> Iterator[Seen]:
    client = ld_eventsource.SSEClient(ConnectStrategy.http(url, headers=headers), last_event_id=after)
    with closing(client):
        for event in client.events:
            yield Seen(event.id, event.event, event.data)


CLIENTS: list[Client] = [by_sseclient, by_requests_sse, by_launchdarkly]


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    running = Beacon(tmp_path_factory.mktemp("clients"), background=0, HEARTBEAT_S=0.2)
    running.start()
    yield running
    running.end()


def filled(text: str) -> str:
    """As often as a payload may hold it."""
    if not text:
        return text
    size = len(json.dumps(text, ensure_ascii=False).encode()) - 2
    return text * ((MAX_PAYLOAD_BYTES - 100) // size)


@pytest.fixture(scope="module")
def published(beacon: Beacon) -> dict[int, str]:
    """Every hostile text once as it is and once filling 64 KiB; which text each id has."""
    texts = [*HOSTILE, *(filled(text) for text in HOSTILE)]
    ids = beacon.publish([{"type": "any.thing", "data": {"text": text}} for text in texts])
    return dict(zip(ids, texts, strict=True))


def read(client: Client, url: str, headers: dict[str, str], after: int, last: int) -> list[Seen]:
    """Up to the event `last`, in a thread, so that nothing waits for ever."""
    seen: list[Seen] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            with closing(client(url, headers, str(after))) as events:
                for event in events:
                    seen.append(event)
                    if event.id == str(last) and event.name not in OWN:
                        return
        except Exception as error:  # noqa: BLE001 -- for the test's own thread to show
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_for(lambda: not thread.is_alive(), "the client to have read everything", 30)
    assert errors == []
    return seen


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_that_others_wrote_sees_what_was_published_and_nothing_else(
    beacon: Beacon, published: dict[int, str], client: Client, path: str
) -> None:
    ids = list(published)
    seen = read(client, f"{beacon.url}{path}", beacon.bearer("alice", "stream"), ids[0] - 1, ids[-1])
    events = [event for event in seen if event.name not in OWN]
    assert [event.id for event in events] == [str(event_id) for event_id in ids]
    assert {event.name for event in events} == {"any.thing" if path == PATHS[0] else "message"}
    for event, text in zip(events, published.values(), strict=True):
        assert event.text() == text
    for event in seen:
        if event.name in OWN:
            assert event.name in ("hello", "heartbeat"), "a forged control frame"
            json_object(event.data)


def json_object(data: str) -> dict[str, Any]:
    found = json.loads(data)
    assert isinstance(found, dict)
    return found
