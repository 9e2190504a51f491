"""A pytest plugin: a test that leaves something behind fails itself, not the next one.

It compares what there is before and after a test: threads, greenlets of gevent, child processes, sockets, and files
outside the test's own folder. What a fixture of a wider scope brings along belongs to all its tests. What still ends
by itself is waited for.
"""

import gc
import os
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.processes import children
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_S = 5.0
# What tools keep in the checkout and in the home folder on purpose; .gitignore names the former too.
CACHES = {".cache", ".hypothesis", ".mypy_cache", ".npm", ".pki", ".pytest_cache", ".ruff_cache", "__pycache__"}
# One for the whole process, which ends by itself once no request has a deadline left.
SHARED_THREADS = {"beacon-deadlines"}
# Processes that start others on their own: the driver of the browser, and the parent of forked servers.
BROWSER, FORK_SERVER = "playwright", "tests.support.fork_server"

# What there is, by what stays the same of it; the value is how a failure prints it.
Belongings = dict[str, str]


class Leftovers:
    def __init__(self) -> None:
        self._allowed = _known()

    def pytest_runtestloop(self) -> None:
        """What all tests share is looked through by no later collection: here each would take a tenth of a second."""
        gc.collect()
        gc.freeze()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        before = _known()
        try:
            return (yield)
        finally:
            self._allowed |= _known() - before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        result = yield
        still_open = _open_files(item)
        if self._left():
            gc.collect()  # what nobody holds any more is no leftover
            with suppress(AssertionError):
                wait_for(lambda: not self._left(), within_s=ENDS_WITHIN_S)
        left = [*self._left(), *still_open]
        self._allowed = _known()  # the next test is not blamed for it
        if left:
            pytest.fail("\n  ".join([f"{item.nodeid} left behind:", *sorted(left)]), pytrace=False)
        return result

    def _left(self) -> list[str]:
        return [text for key, text in look().items() if key not in self._allowed and text not in self._allowed]


def pytest_configure(config: pytest.Config) -> None:
    """Temporary files go to a folder that no other program uses; `tmp_path` stays where pytest keeps it."""
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # Short, and in no folder of another process: Chromium's socket lies in it, whose path has 107 characters at most.
    folder = tempfile.TemporaryDirectory(
        prefix="beacon-", dir=os.environ["PYTEST_DEBUG_TEMPROOT"], ignore_cleanup_errors=True
    )
    Path(folder.name).chmod(0o711)  # PostgreSQL, which is never root, must be able to walk through
    config.add_cleanup(folder.cleanup)
    tempfile.tempdir = os.environ["TMPDIR"] = folder.name
    config.pluginmanager.register(Leftovers(), "leftovers")


def look() -> Belongings:
    return {**_threads(), **_greenlets(), **_processes(), **_sockets(), **_files()}


def _known() -> set[str]:
    """By both: a server that all tests share may be started again, and a process has another name before it runs."""
    return {name for pair in look().items() for name in pair}


def _threads() -> Belongings:
    return {
        f"thread {thread.ident}": f"thread {thread.name} ({thread.ident})"
        for thread in threading.enumerate()
        if thread.name not in SHARED_THREADS
    }


def _greenlets() -> Belongings:
    """The tests' own process uses no gevent, so a hub of it is one leftover, whatever runs in it."""
    if "gevent" in sys.modules:
        from gevent._hub_local import get_hub_if_exists

        hub = get_hub_if_exists()
        if hub is not None:
            return {"greenlets": f"greenlets of {hub!r}"}
    return {}


def _processes() -> Belongings:
    found = {}
    for pid, command in _commands(os.getpid()).items():
        if BROWSER in command:
            continue
        found[f"process {pid}"] = f"process {command}"
        if FORK_SERVER in command:  # its children are named as it is
            found |= {f"process {server}": f"forked server {server}" for server in children(pid)}
    return found


def _commands(parent: int) -> dict[int, str]:
    return {pid: _command(pid) for pid in children(parent)}


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return "that has ended"


def _sockets() -> Belongings:
    found = {}
    with suppress(OSError):
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith("socket:"):
                    found[target] = f"{target} (descriptor {descriptor.name})"
    return found


def _open_files(item: pytest.Item) -> list[str]:
    """In the test's own folder, before anybody collects what nobody holds: Python 3.13 warns in a later test."""
    folder = getattr(item, "funcargs", {}).get("tmp_path")
    found = []
    with suppress(OSError):
        for descriptor in Path("/proc/self/fd").iterdir() if folder else ():
            with suppress(OSError):
                target = str(descriptor.readlink())
                if target.startswith(f"{folder}/"):
                    found.append(f"open file {target} (descriptor {descriptor.name})")
    return found


def _files() -> Belongings:
    """Names in the checkout, in the folder for temporary files and in the home folder."""
    found = {}
    for folder in {ROOT, Path(tempfile.gettempdir()), Path.home()}:
        with suppress(OSError):
            found |= {f"file {path}": f"file {path}" for path in folder.iterdir() if path.name not in CACHES}
    return found
