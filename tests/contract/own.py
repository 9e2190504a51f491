"""A real Beacon of our own, for a run without an address. Nothing here is imported when there is one."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCOPES = ("stream", "read", "publish", "command", "rollout", "widget", "admin")
# The bounds on one user are the defaults, which other tests are spared.
BOUNDS = {"MAX_STREAMS_PER_USER": 8, "CONNECT_RATE_PER_USER": 20, "PUBLISH_RATE_PER_USER": 200}
SETTINGS = {"WORKERS": 1, "HEARTBEAT_S": 1, "POLL_INTERVAL_S": 1, "DRAIN_S": 1, **BOUNDS}


@contextmanager
def started(folder: Path, **settings: Any) -> Iterator[Any]:
    """One worker that beats every second; a `Beacon` of tests/support/beacon_server.py."""
    processes = importlib.import_module("tests.support.beacon_server")
    with processes.Beacon(folder, **{**SETTINGS, **settings}) as beacon:
        yield beacon


@contextmanager
def in_use(folder: Path, **settings: Any) -> Iterator[Any]:
    """As `started`, with a service that it watches, so that its log moves by itself as everybody else's does."""
    demo = importlib.import_module("tests.support.demo_service")
    with started(folder, **settings) as beacon:
        (folder / "demo").mkdir()
        service = demo.start_demo(folder / "demo")
        try:
            beacon.watch("mail", service.url)
            yield beacon
        finally:
            service.stop()


def admin_token(beacon: Any) -> str:
    token: str = beacon.token("ada", *SCOPES)
    return token
