"""The process that publishes: the same events at the same moments, in the words of each server.

`python publisher.py KIND TARGET…` reads commands, one a line: `run RATE SIZE SECONDS EVERY FIRST` publishes RATE events
a second of about SIZE bytes for SECONDS, a batch every EVERY seconds, numbered from FIRST; it answers with
`{"last": number of the last event, "late_s": how far the schedule slipped}`. Standard library only, because it also
runs in the environment of the peers.

Each event carries `#NUMBER#NANOSECONDS#`, the monotonic clock just before the request with it is written.
"""

import json
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence

Send = Callable[[Iterator[str]], None]
"""Publishes a batch; each event is made, and stamped, when it is taken from the iterator."""
TYPE = "bench.event"
REFUSED_PAUSE_S = 0.05


class Http:
    """One keep-alive connection; requests may be pipelined."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._bytes = b""
        self.body = b""  # of the last answer

    def send(self, requests: Sequence[bytes]) -> list[int]:
        """Write all, read all answers; their statuses. A connection that was closed meanwhile is opened again."""
        data = b"".join(requests)
        try:
            return self._exchange(data, len(requests))
        except ConnectionError:
            self._socket = None
            return self._exchange(data, len(requests))

    def _exchange(self, data: bytes, count: int) -> list[int]:
        if self._socket is None:
            self._bytes = b""
            self._socket = socket.create_connection(("127.0.0.1", self._port), 30)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(data)
        return [self._answer() for _ in range(count)]

    def _answer(self) -> int:
        while b"\r\n\r\n" not in self._bytes:
            self._more()
        head, self._bytes = self._bytes.split(b"\r\n\r\n", 1)
        lines = head.lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        while len(self._bytes) < length:
            self._more()
        self.body, self._bytes = self._bytes[:length], self._bytes[length:]
        if b"connection: close" in lines:
            self._socket = None
        return int(head.split(b" ", 2)[1])

    def _more(self) -> None:
        assert self._socket is not None
        found = self._socket.recv(65536)
        if not found:
            raise ConnectionResetError
        self._bytes += found


def post(path: str, body: bytes, extra: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def over_http(port: int, requests: Callable[[Iterator[str]], list[bytes]]) -> Send:
    """A batch goes out once; what is refused (503, 429) is sent again after a pause, as a publisher should."""
    http = Http(port)

    def send(batch: Iterator[str]) -> None:
        waiting = requests(batch)
        while waiting:
            statuses = http.send(waiting)
            if any(status >= 300 and status not in (429, 503) for status in statuses):
                raise SystemExit(f"publisher: refused with {statuses}: {http.body[:300]!r}")
            waiting = [request for request, status in zip(waiting, statuses, strict=True) if status >= 300]
            if waiting:
                time.sleep(REFUSED_PAUSE_S)

    return send


def to_beacon(port: str, token: str) -> Send:
    extra = f"Authorization: Bearer {token}\r\n"

    def requests(batch: Iterator[str]) -> list[bytes]:
        events = ",".join(f'{{"type":"{TYPE}","audience":"everyone","data":{data}}}' for data in batch)
        return [post("/api/events", f"[{events}]".encode(), extra)]

    return over_http(int(port), requests)


def to_nchan(port: str) -> Send:
    return over_http(int(port), lambda batch: [post("/publish", data.encode()) for data in batch])


def to_starlette(port: str) -> Send:
    return over_http(int(port), lambda batch: [post("/publish", json.dumps(list(batch)).encode())])


def to_flask_sse(url: str) -> Send:
    import flask
    import flask_sse  # type: ignore[import-not-found,unused-ignore]  # only in the peers' environment

    app = flask.Flask("publisher")
    app.config["REDIS_URL"] = url

    def send(batch: Iterator[str]) -> None:
        with app.app_context():
            for data in batch:
                flask_sse.sse.publish(data, type=TYPE)

    return send


def to_table(database: str) -> Send:
    """Straight into Beacon's event table, as another program would; a commit a batch."""
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)

    def send(batch: Iterator[str]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO event (type, data_json) VALUES (?, ?)", [(TYPE, data) for data in batch])
        connection.execute("COMMIT")

    return send


KINDS: dict[str, Callable[..., Send]] = {
    "beacon": to_beacon,
    "nchan": to_nchan,
    "starlette": to_starlette,
    "flask-sse": to_flask_sse,
    "table": to_table,
}


def event(number: int, sent_ns: int, size: int) -> str:
    """JSON of about `size` bytes."""
    mark = f'{{"mark":"#{number}#{sent_ns}#","text":"'
    return mark + "x" * max(0, size - len(mark) - 2) + '"}'


def run(send: Send, rate: float, size: int, seconds: float, every: float, first: int) -> dict[str, float]:
    """Publish on a schedule that does not slip because one batch was slow: what is late goes out at once."""
    began = time.monotonic()
    number, batch_number, late = first, 0, 0.0
    while (due := batch_number * every) < seconds:
        now = time.monotonic() - began
        if now < due:
            time.sleep(due - now)
        elif now > seconds + 1:
            break  # hopelessly behind: the server takes no more
        late = max(late, time.monotonic() - began - due)
        count = round(rate * every * (batch_number + 1)) - round(rate * every * batch_number)
        if count:
            send(event(number + place, time.monotonic_ns(), size) for place in range(count))
        number += count
        batch_number += 1
    return {"last": number - 1, "late_s": round(late, 4)}


def main(kind: str, *target: str) -> None:
    send = KINDS[kind](*target)
    for line in sys.stdin:
        rate, size, seconds, every, first = line.split()[1:]
        answer = run(send, float(rate), int(size), float(seconds), float(every), int(first))
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
