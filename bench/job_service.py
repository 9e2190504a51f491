"""`python -m bench.job_service PORT JOBS`: many job services in one process that cost next to nothing.

Each speaks the Palantir HTTP API below `/N`. Answers are made once; only their revision moves, once a second. After
`GET /fail/M` the first M of them fail: every third one lets requests wait, the others answer 500.
"""

import asyncio
import itertools
import json
import sys
import time
from functools import cache
from urllib.parse import parse_qs, urlsplit

PAGE = 1_000
REVISION = b"0123456789"
SHARES = {"running": 0.1, "queued": 0.9}
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"


class Service:
    """All services hold the same jobs: what is asked for is made at the first asking."""

    failing = 0

    def __init__(self, jobs: int) -> None:
        numbers = itertools.count()
        self._ids = {
            state: [f"job-{next(numbers):07}" for _ in range(round(jobs * share))] for state, share in SHARES.items()
        }

    def fault(self, target: str) -> bytes | None:
        """What is answered instead of an answer; empty for a request that is left waiting."""
        place = target.split("/")
        if place[1] == "fail":
            self.failing = int(place[2])
            return NO_CONTENT
        number = int(place[1])
        if number >= self.failing:
            return None
        return b"" if number % 3 == 0 else ERROR

    @cache  # noqa: B019 -- it lives as long as the process
    def answer(self, target: str) -> tuple[bytes, bytes]:
        """What comes before and behind the revision. A single job, asked for once it is lost, is never there."""
        parts = urlsplit(target)
        path, query = parts.path.split("/api/v1", 1)[1], parse_qs(parts.query)
        if path.count("/") > 1 and path != "/jobs/counts":
            return b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", b""
        body = json.dumps(self._body(path, query)).replace(f'"{REVISION.decode()}"', REVISION.decode()).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        before, _, behind = (head + body).partition(REVISION)
        return before, behind

    def _body(self, path: str, query: dict[str, list[str]]) -> dict[str, object]:
        if path == "/health":
            return {"status": "ok", "instanceId": "one"}
        if path == "/jobs/counts":
            return {"counts": {state: len(ids) for state, ids in self._ids.items()}, "revision": REVISION.decode()}
        state, after = query["state"][0], query.get("after", [""])[0]
        ids = self._ids.get(state, [])
        start = ids.index(after) + 1 if after else 0
        page = ids[start : start + PAGE]
        jobs = [{"id": job_id, "state": state, "queue": "mail", "attempt": 1} for job_id in page]
        more = page[-1] if start + PAGE < len(ids) else None
        return {"jobs": jobs, "next": more, "revision": REVISION.decode()}


class Connection(asyncio.Protocol):
    """Keep-alive, one request after the other; the requests have no bodies."""

    def __init__(self, service: Service) -> None:
        self._service, self._read = service, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            request, _, self._read = self._read.partition(b"\r\n\r\n")
            target = request.split(b" ", 2)[1].decode()
            fault = self._service.fault(target)
            if fault is not None:
                self._transport.write(fault)
                continue
            before, behind = self._service.answer(target)
            revision = b"%010d" % (1_000_000_000 + int(time.monotonic()))
            self._transport.write(before + revision + behind if behind else before)


async def serve(port: int, jobs: int) -> None:
    service = Service(jobs)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
