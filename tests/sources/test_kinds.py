"""The kinds of sources that can be configured, and those that other packages bring."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from app.sources import kinds
from app.sources.palantir import palantir_source

THIRD_PARTY = "tests.sources.test_kinds"
KIND = palantir_source.KIND.__class__(
    name="sidekiq",
    about="Brought by another package",
    url_example="redis://127.0.0.1",
    check_url=palantir_source.KIND.check_url,
    options=palantir_source.KIND.options,
    build=palantir_source.KIND.build,
)
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
    assert kinds.list_kinds()[:3] == ["palantir", "rq", "celery"]


def test_one_of_another_package_is_a_kind_like_every_other(bring: Any) -> None:
    bring("KIND")
    assert kinds.list_kinds()[3:] == ["sidekiq"]
    assert kinds.get_kind("sidekiq") is KIND


@pytest.mark.parametrize("broken", ["NOT_A_KIND", "nothing_of_that_name"])
def test_one_that_cannot_be_loaded_is_left_out_and_said(
    bring: Any, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    bring(broken)
    assert kinds.list_kinds() == ["palantir", "rq", "celery"]
    assert "kind=sidekiq" in caplog.text
    assert set(kinds.list_broken_kinds()) == {"sidekiq"}
    with pytest.raises(
        kinds.UnloadableKind, match=r"sidekiq is installed and cannot be loaded: (Type|Attribute)Error: "
    ):
        kinds.get_kind("sidekiq")


def test_one_of_our_own_whose_library_is_missing_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds._OWN_MODULES, "rq", "app.sources.no_such_module")
    _forget()
    try:
        assert set(kinds.list_broken_kinds()) == {"rq"}
        with pytest.raises(kinds.UnloadableKind, match="rq is installed and cannot be loaded: ModuleNotFoundError"):
            kinds.get_kind("rq")
        assert kinds.get_kind("palantir") is palantir_source.KIND
    finally:
        _forget()


def test_an_unknown_one_is_said_with_those_that_are_there() -> None:
    with pytest.raises(kinds.UnknownKind, match="expected one of palantir, rq, celery"):
        kinds.get_kind("oracle")
    assert kinds.get_health_path("oracle") == ""


def _forget() -> None:
    kinds.get_kind.cache_clear()
    kinds._load_plugins.cache_clear()
    kinds._load_own.cache_clear()
