"""Real gunicorn, real sockets."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.beacon_server import Beacon, servers

MakeBeacon = Callable[..., Beacon]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.live)


@pytest.fixture(scope="module", autouse=True)
def _forked(forked_servers: None) -> None:
    """How a server starts is tested by `make run`, in test_make_run.py."""


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beacon]:
    """One worker that the tests of a module share; they look only at what they published themselves."""
    running = Beacon(tmp_path_factory.mktemp("beacon"), background=0)
    running.start()
    yield running
    running.end()


@pytest.fixture
def start_beacon(tmp_path: Path) -> Iterator[MakeBeacon]:
    """`start_beacon(WORKERS=2)`: a server of one test's own, without a background process unless it is asked for.

    Killed in the end: a drain takes seconds, and is tested in test_engine_drain.py."""
    yield from servers(tmp_path, Beacon.end, background=0)
