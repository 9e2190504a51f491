"""How `make test` runs pytest: what is fast comes first, and without a Chromium all but the browser's tests run.

Skipped for want of a browser must not look like passed, so that run fails in the end, unless BEACON_SKIP_BROWSER=1.
"""

import os
from pathlib import Path

import pytest

from scripts.bootstrap import NO_CHROMIUM, find_chromium, skip_browser

TESTS = Path(__file__).resolve().parent.parent / "tests"
SLOW_FOLDERS = ["contract", "services", "live", "browser"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Side by side what is slow comes first, or one process would end with it while the others wait.
    items.sort(key=slowness, reverse="PYTEST_XDIST_WORKER" in os.environ)
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


def slowness(item: pytest.Item) -> int:
    return SLOW_FOLDERS.index(folder(item)) + 1 if folder(item) in SLOW_FOLDERS else 0


def folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def browser_missed() -> bool:
    return not skip_browser() and not find_chromium()
