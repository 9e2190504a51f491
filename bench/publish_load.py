"""Publishers that send one request after the other, each as soon as its last one was answered.

`python publish_load.py PORT PUBLISHERS BATCH SECONDS TOKEN…` prints `{"requests", "events", "seconds", "p50_ms",
"p99_ms", "refused"}` as JSON. One thread serves all connections: it shares the machine with the server.
"""

import json
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

from bench.figure import quantile
from bench.publisher import TYPE, event, post

EVENT_BYTES = 150
CREATED = b"HTTP/1.1 201"


@dataclass
class Tally:
    taken_ms: list[float] = field(default_factory=list)
    refused: int = 0


class Publisher:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request, self._bytes, self._sent = request, b"", 0.0

    def send(self) -> None:
        self._sent = time.monotonic()
        self.socket.sendall(self._request)

    def receive(self, tally: Tally) -> bool:
        """True once the answer is complete."""
        found = self.socket.recv(65_536)
        if not found:
            raise ConnectionResetError("the server closed a publisher's connection")
        self._bytes += found
        head, end, body = self._bytes.partition(b"\r\n\r\n")
        if not end or len(body) < _content_length(head):
            return False
        if head.startswith(CREATED):
            tally.taken_ms.append((time.monotonic() - self._sent) * 1_000)
        else:
            tally.refused += 1
        self._bytes = b""
        return True


def _content_length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))


def run(port: int, publishers: int, batch: int, seconds: float, tokens: list[str]) -> dict[str, float]:
    events = ",".join(f'{{"type":"{TYPE}","data":{event(place, 0, EVENT_BYTES)}}}' for place in range(batch))
    body = (events if batch == 1 else f"[{events}]").encode()
    clients = [
        Publisher(port, post("/api/events", body, f"Authorization: Bearer {tokens[number % len(tokens)]}\r\n"))
        for number in range(publishers)
    ]
    tally, began = Tally(), time.monotonic()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send()
        open_requests = len(clients)
        while open_requests:
            for key, _ in selector.select(30):
                client = key.data
                if client.receive(tally):
                    if time.monotonic() - began < seconds:
                        client.send()
                    else:
                        open_requests -= 1
    taken = time.monotonic() - began
    done = len(tally.taken_ms)
    for client in clients:
        client.socket.close()
    return {
        "requests": done,
        "events": done * batch,
        "seconds": taken,
        "p50_ms": quantile(tally.taken_ms, 0.5),
        "p99_ms": quantile(tally.taken_ms, 0.99),
        "refused": tally.refused,
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:])))
