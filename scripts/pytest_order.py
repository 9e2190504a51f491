"""How `make test` runs pytest: what runs side by side, and in which order.

As many processes as there are cores run the tests with a server or a browser. The others, twice as many, take only
what needs neither; they use the processor while the first ones wait for their servers, and get less of it otherwise:
the run takes as long as its servers do.
Without a Chromium all but the browser's tests run; skipped for want of a browser must not look like passed, so that
run fails in the end, unless BEACON_SKIP_BROWSER=1.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from scripts.bootstrap import NO_CHROMIUM, find_chromium, skip_browser
from tests.support import machine

TESTS = Path(__file__).resolve().parent.parent / "tests"
PROCESSES = "BEACON_TEST_PROCESSES"
# A process with its browser, its servers and a PostgreSQL.
MEMORY_EACH_BYTES = 2 * 1024**3
SLOW_FOLDERS = ["install", "contract", "services", "live", "browser"]
# Each of their files has a Beacon of its own, and many a browser; of the other folders these have one too.
WITH_SERVERS = {"contract", "install", "live", "browser"}
MORE_WITH_SERVERS = {
    "tests/services/test_rq_broken.py",
    "tests/services/test_two_hosts.py",
    "tests/services/test_unleash_deployment.py",
}

NICENESS_WITHOUT_SERVERS = 10
_begun: list[str] = []


class Lanes(LoadFileScheduling):  # type: ignore[misc]  # xdist publishes no types
    """Files with a server or a browser go to the first processes, and to no more of them than that."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        file = self._next_file(with_servers=self.nodes.index(node) < server_processes())
        if file is None:
            node.shutdown()
        else:
            self.workqueue.move_to_end(file, last=False)
            super()._assign_work_unit(node)

    def _next_file(self, *, with_servers: bool) -> str | None:
        """A process that may start servers begins with the files that need some: no other process can take them."""
        fitting = (file for file in self.workqueue if has_servers(file) == with_servers)
        return next(fitting, next(iter(self.workqueue), None) if with_servers else None)


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        machine.publish(config.getoption("numprocesses", default=None) or 1)


def pytest_runtest_logstart(nodeid: str) -> None:
    """A process that begins without servers goes on without them until all of those are taken."""
    if "PYTEST_XDIST_WORKER" in os.environ and not _begun:
        _begun.append(nodeid)
        if not has_servers(nodeid.partition("::")[0]):
            os.nice(NICENESS_WITHOUT_SERVERS)


def pytest_report_header() -> str:
    return f"bounds on time are multiplied by {os.environ[machine.VARIABLE]} ({machine.VARIABLE} sets it)"


# Before xdist's own answer, which is the number of cores.
@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    return server_processes() + 2 * server_processes()


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Lanes | None:
    return Lanes(config, log) if config.getoption("dist") == "loadfile" else None


def server_processes() -> int:
    """How many processes start servers and browsers: one for each core, as far as the memory goes."""
    if PROCESSES in os.environ:
        return max(1, int(os.environ[PROCESSES]))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(os.cpu_count() or 1, memory // MEMORY_EACH_BYTES))


def has_servers(file: str) -> bool:
    """Of a path as node ids begin with."""
    return Path(file).parts[1] in WITH_SERVERS or file in MORE_WITH_SERVERS


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("randomly_reorganize"):
        arrange(items)
    if skip_browser() or not find_chromium():
        away = [item for item in items if folder(item) == "browser"]
        items[:] = [item for item in items if folder(item) != "browser"]
        config.hook.pytest_deselected(items=away)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if browser_missed() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if browser_missed():
        terminalreporter.write_line(NO_CHROMIUM, red=True)


def arrange(items: list[pytest.Item]) -> None:
    """Alone from fast to slow, side by side from slow to fast."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        mix(items)
    else:
        items.sort(key=slowness)


def mix(items: list[pytest.Item]) -> None:
    """Side by side what is slow comes first, or one process would end with it while the others wait.

    Its folders take turns: browsers keep the processor busy, and what is live or a service mostly waits. The contract,
    whose files share a server, comes before them, and so do single files that start more than one server.
    """
    files: dict[str, list[Path]] = {name: [] for name in SLOW_FOLDERS}
    for item in items:
        if slowness(item) and item.path not in files[folder(item)]:
            files[folder(item)].append(item.path)
    shared = files.pop("contract")
    turn = {path: at / len(paths) for paths in files.values() for at, path in enumerate(paths)}
    turn |= dict.fromkeys(shared, -1.0) | {TESTS.parent / file: -1.0 for file in MORE_WITH_SERVERS}
    items.sort(key=lambda item: turn.get(item.path, 1.0))


def slowness(item: pytest.Item) -> int:
    return SLOW_FOLDERS.index(folder(item)) + 1 if folder(item) in SLOW_FOLDERS else 0


def folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def browser_missed() -> bool:
    return not skip_browser() and not find_chromium()
