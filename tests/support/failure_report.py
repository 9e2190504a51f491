"""A pytest plugin: a failure says how to run its test alone, and where the logs of its servers lie."""

import shlex
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    if call.excinfo and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.add_report_section(call.when, "advice", "\n".join(advice(item)))
    return (yield)


def advice(item: pytest.Item) -> list[str]:
    lines = [f"alone: {command(item)}"]
    lines += [f"log: {path}" for path in logs(getattr(item, "funcargs", {}))]
    return lines


def command(item: pytest.Item) -> str:
    """The command that runs this test alone, with the same random numbers."""
    seed = item.config.getoption("randomly_seed")
    return shlex.join([".venv/bin/pytest", f"--randomly-seed={seed}", item.nodeid])


def logs(arguments: dict[str, Any]) -> list[Path]:
    """Those of the servers that the test was given, and those in its own folder."""
    found = [value.log for value in arguments.values() if isinstance(getattr(value, "log", None), Path)]
    folder = arguments.get("tmp_path")
    if isinstance(folder, Path):
        found += sorted(folder.rglob("*.log"))
    return [path for path in dict.fromkeys(found) if path.exists()]
