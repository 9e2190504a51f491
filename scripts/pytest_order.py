"""How `make test` runs pytest: what is fast comes first, and without a Chromium all but the browser's tests run.

Skipped for want of a browser must not look like passed, so that run fails in the end, unless BEACON_SKIP_BROWSER=1.
"""

import os
from pathlib import Path

import pytest

from scripts.bootstrap import NO_CHROMIUM, find_chromium, skip_browser
from tests.support import machine

TESTS = Path(__file__).resolve().parent.parent / "tests"
PROCESSES = "BEACON_TEST_PROCESSES"
# A process with its browser, its servers and a PostgreSQL.
MEMORY_EACH_BYTES = 2 * 1024**3
SLOW_FOLDERS = ["contract", "services", "live", "browser"]


def pytest_configure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        machine.publish(config.getoption("numprocesses", default=None) or 1)


def pytest_report_header() -> str:
    return f"bounds on time are multiplied by {os.environ[machine.VARIABLE]} ({machine.VARIABLE} sets it)"


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, because much of the time is spent waiting, as far as the memory goes."""
    if PROCESSES in os.environ:
        return int(os.environ[PROCESSES])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min((os.cpu_count() or 1) + 1, memory // MEMORY_EACH_BYTES))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        mix(items)
    else:
        items.sort(key=slowness)
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


def mix(items: list[pytest.Item]) -> None:
    """Side by side what is slow comes first, or one process would end with it while the others wait.

    Its folders take turns: browsers keep the processor busy, and what is live or a service mostly waits. The contract,
    whose files share a server, comes before them.
    """
    files: dict[str, list[Path]] = {name: [] for name in SLOW_FOLDERS}
    for item in items:
        if slowness(item) and item.path not in files[folder(item)]:
            files[folder(item)].append(item.path)
    shared = files.pop("contract")
    turn = {path: at / len(paths) for paths in files.values() for at, path in enumerate(paths)}
    turn |= dict.fromkeys(shared, -1.0)
    items.sort(key=lambda item: turn.get(item.path, 1.0))


def slowness(item: pytest.Item) -> int:
    return SLOW_FOLDERS.index(folder(item)) + 1 if folder(item) in SLOW_FOLDERS else 0


def folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def browser_missed() -> bool:
    return not skip_browser() and not find_chromium()
