"""Which services are watched: added, changed, removed, named in a file; and what is forgotten with them."""

from typing import Any

import pytest
from flask import Flask

from app.db import read, write
from app.reconciliation import queries, registry, service_admin
from app.sources.palantir.palantir_source import PalantirSource
from app.sources.protocol import SourceError
from app.sources.service_config import ServiceEntry, parse_entry
from tests.reconciliation.desk import SERVICE, Desk
from tests.reconciliation.values import look

URL = "http://127.0.0.1:9"


def ids() -> list[str]:
    with read() as session:
        return [row.id for row in registry.list_services(session)]


def change(what: Any, *args: Any, **named: Any) -> None:
    with write() as session:
        what(session, *args, **named)


def entry(service_id: str, **more: Any) -> ServiceEntry:
    return parse_entry({"id": service_id, "url": URL, **more})


def test_services_are_listed_by_name(desk: Desk) -> None:
    change(registry.add, id="zeta", name="Alpha", kind="palantir", url=URL)
    assert ids() == ["zeta", SERVICE]


def test_a_service_that_is_watched_is_not_added_twice(desk: Desk) -> None:
    with pytest.raises(registry.InvalidService, match="a service mail is watched already"):
        change(registry.add, id=SERVICE, name="Again", kind="palantir", url=URL)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"id": "Bad Id"}, "id: "),
        ({"id": ""}, "id: "),
        ({"url": "gopher://x"}, "url: expected an address like http://host:port"),
        ({"kind": "oracle"}, "kind: "),
        ({"name": "x" * 101}, "name: "),
    ],
)
def test_what_cannot_be_watched_is_refused_in_words(desk: Desk, wrong: dict[str, str], said: str) -> None:
    with pytest.raises(registry.InvalidService) as caught:
        change(registry.add, **{"id": "new", "name": "New", "kind": "palantir", "url": URL, **wrong})
    assert str(caught.value).startswith(said)
    assert ids() == [SERVICE]


def test_put_changes_an_address_and_keeps_what_is_known(desk: Desk) -> None:
    desk.observe(look(queued=["a"]))
    change(registry.put, id=SERVICE, name="Post", kind="palantir", url=f"{URL}/")
    with read() as session:
        [row] = registry.list_services(session)
    assert (row.name, row.url, desk.known) == ("Post", URL, {"a": "queued"})


def test_a_removed_service_is_forgotten_and_its_record_stays(desk: Desk) -> None:
    desk.observe(look(queued=["a", "b"]))
    desk.observe(look(queued=["a"]))
    change(registry.remove, SERVICE, "ada")
    assert (ids(), desk.known, desk.closed, len(desk.record)) == ([], {}, {"b": "accepted"}, 2)
    with read() as session:
        assert queries.find_service(session, SERVICE) is None


def test_a_service_that_returns_begins_anew(desk: Desk) -> None:
    desk.observe(look(queued=["a", "b"]))
    change(registry.remove, SERVICE, "ada")
    change(registry.add, id=SERVICE, name="Mail", kind="palantir", url=URL)
    desk.observe(look(queued=["a"]))
    assert (desk.known, desk.items, desk.told["status"]) == ({"a": "queued"}, {}, "verified")


@pytest.mark.parametrize("service_id", ["nowhere", "removed"])
def test_what_is_not_watched_cannot_be_removed(desk: Desk, service_id: str) -> None:
    change(registry.add, id="removed", name="Removed", kind="palantir", url=URL)
    change(registry.remove, "removed", "ada")
    with pytest.raises(registry.InvalidService, match=f"no service {service_id} is watched"):
        change(registry.remove, service_id, "ada")


def test_the_file_adds_changes_and_removes_its_own_and_leaves_others_alone(desk: Desk) -> None:
    change(service_admin.sync_from_file, [entry("one"), entry("two")])
    assert ids() == [SERVICE, "one", "two"]
    change(service_admin.sync_from_file, [entry("two", name="Zwei"), entry("three")])
    with read() as session:
        assert {row.id: (row.name, row.origin) for row in registry.list_services(session)} == {
            SERVICE: ("Mail", "admin"),
            "two": ("Zwei", "file"),
            "three": ("three", "file"),
        }


def test_a_service_is_called_by_its_name_and_a_stranger_by_its_id(believing: Flask) -> None:
    with believing.app_context():
        assert (registry.service_name(SERVICE), registry.service_name("stranger")) == ("Mail", "stranger")


@pytest.mark.parametrize(("option", "visible"), [("lookup", "lookup"), ("none", None), (600, 600.0)])
def test_the_source_is_built_from_the_row(desk: Desk, option: Any, visible: Any) -> None:
    change(registry.put, id=SERVICE, name="Mail", kind="palantir", url=URL, finished_visible_for_s=option)
    [service] = registry.SourceRegistry(10).list_watched()
    assert isinstance(service.source, PalantirSource)
    assert service.source.capabilities.finished_visible_for_s == visible


def test_a_source_lives_as_long_as_its_settings(desk: Desk) -> None:
    sources = registry.SourceRegistry(10)
    [first] = sources.list_watched()
    change(registry.put, id=SERVICE, name="Other name", kind="palantir", url="http://127.0.0.1:1")
    assert sources.list_watched() == [first]
    change(registry.put, id=SERVICE, name="Other name", kind="palantir", url=URL)
    [second] = sources.list_watched()
    assert second.source is not first.source


def test_a_kind_that_this_version_does_not_know_does_not_stop_the_others(desk: Desk) -> None:
    with write() as session:
        row = registry.add(session, id="odd", name="Odd", kind="palantir", url=URL)
        row.kind = "from-the-future"
    services = {service.id: service for service in registry.SourceRegistry(10).list_watched()}
    assert set(services) == {SERVICE, "odd"}
    with pytest.raises(SourceError, match="is of the kind from-the-future, which is not installed here"):
        services["odd"].source.read_snapshot()
