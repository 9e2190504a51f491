"""What uvicorn serves, in the peers' environment: each event goes into each subscriber's queue."""

# mypy: disable-error-code="import-not-found, unused-ignore"
import asyncio
from collections.abc import AsyncIterator
from typing import Any

from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_queues: set[asyncio.Queue[tuple[int, str]]] = set()
_newest = 0


async def events(request: Request) -> Any:  # noqa: ARG001 -- starlette's signature
    queue: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
    _queues.add(queue)
    return EventSourceResponse(_stream(queue), ping=15)


async def _stream(queue: asyncio.Queue[tuple[int, str]]) -> AsyncIterator[dict[str, str]]:
    try:
        while True:
            number, data = await queue.get()
            yield {"id": str(number), "event": "bench.event", "data": data}
    finally:
        _queues.discard(queue)


async def publish(request: Request) -> Any:
    global _newest  # noqa: PLW0603 -- one process, one counter
    for data in await request.json():
        _newest += 1
        for queue in _queues:
            queue.put_nowait((_newest, data))
    return Response(status_code=201)


app = Starlette(routes=[Route("/events", events), Route("/publish", publish, methods=["POST"])])
