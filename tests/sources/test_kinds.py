"""The kinds of sources that can be configured, and those that other packages bring."""

import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from app.sources import kinds
from tests.support.machine import scaled

THIRD_PARTY = "tests.sources.test_kinds"
KIND = replace(kinds.get_kind(kinds.DEFAULT_KIND), name="sidekiq", about="Brought by another package")
NOT_A_KIND = "sidekiq"


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`bring("KIND")`: another package is installed whose entry point is this object."""

    def install(name: str) -> None:
        points = [EntryPoint("sidekiq", f"{THIRD_PARTY}:{name}", kinds.ENTRY_POINT_GROUP)]
        monkeypatch.setattr(kinds, "entry_points", lambda group: points if group == kinds.ENTRY_POINT_GROUP else [])

    _forget()
    yield install
    _forget()


def test_beacons_own_come_first() -> None:
    assert tuple(kinds.list_kinds()) == kinds.OWN_KINDS
    assert [kinds.get_kind(name).name for name in kinds.OWN_KINDS] == list(kinds.OWN_KINDS)


def test_one_of_another_package_is_a_kind_like_every_other(bring: Any) -> None:
    bring("KIND")
    assert kinds.list_kinds() == [*kinds.OWN_KINDS, "sidekiq"]
    assert kinds.get_kind("sidekiq") is KIND


@pytest.mark.parametrize("broken", ["NOT_A_KIND", "nothing_of_that_name"])
def test_one_that_cannot_be_loaded_is_left_out_and_said(
    bring: Any, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    bring(broken)
    assert kinds.list_kinds() == list(kinds.OWN_KINDS)
    assert "kind=sidekiq" in caplog.text
    assert set(kinds.list_broken_kinds()) == {"sidekiq"}
    with pytest.raises(
        kinds.UnloadableKind, match=r"sidekiq is installed and cannot be loaded: (Type|Attribute)Error: "
    ):
        kinds.get_kind("sidekiq")


def test_one_of_our_own_whose_library_is_missing_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = kinds.OWN_KINDS[0], kinds.OWN_KINDS[-1]
    monkeypatch.setitem(sys.modules, f"app.sources.{last}", None)
    _forget()
    try:
        assert set(kinds.list_broken_kinds()) == {last}
        with pytest.raises(
            kinds.UnloadableKind, match=f"{last} is installed and cannot be loaded: ModuleNotFoundError"
        ):
            kinds.get_kind(last)
        assert kinds.get_kind(first).name == first
    finally:
        _forget()


def test_an_unknown_one_is_said_with_those_that_are_there() -> None:
    with pytest.raises(kinds.UnknownKind, match=f"expected one of {', '.join(kinds.OWN_KINDS)}"):
        kinds.get_kind("oracle")
    assert kinds.find_kind("oracle") is None


def test_a_service_of_one_kind_loads_no_library_of_another() -> None:
    """Nor does the application itself, while nothing is watched."""
    code = """
import sys
from app.sources import kinds
import app, app.cli.main, app.web.registration, app.reconciliation.build
assert not sys.modules.keys() & {"redis", *kinds.OWN_KINDS}
kinds.get_kind(kinds.DEFAULT_KIND)
assert not sys.modules.keys() & {f"app.sources.{name}" for name in kinds.OWN_KINDS[1:]}
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=scaled(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _forget() -> None:
    kinds.get_kind.cache_clear()
    kinds._load_plugins.cache_clear()
    kinds._load_own.cache_clear()
