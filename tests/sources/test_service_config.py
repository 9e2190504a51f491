"""One service as a person configures it: checked by its kind, and its password apart from its address."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from app.sources import kinds, service_config
from app.sources.palantir.palantir_source import PalantirOptions
from app.sources.protocol import ServiceAddress, Source, SourceError

URL = "http://127.0.0.1:9"


def first_error(given: dict[str, Any]) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        service_config.parse_entry(given)
    error = caught.value.errors()[0]
    return ".".join(map(str, error["loc"])), error["msg"]


def test_an_entry_has_the_options_of_its_kind() -> None:
    found = service_config.parse_entry({"id": "mail", "url": URL + "/", "finished_visible_for_s": 60})
    assert (found.name, found.kind, found.url) == ("mail", "palantir", URL)
    assert found.options == PalantirOptions(finished_visible_for_s=60)


def test_an_unknown_kind_names_those_that_are_there() -> None:
    key, said = first_error({"id": "mail", "url": URL, "kind": "oracle"})
    assert key == "kind"
    assert said.startswith(f"expected one of {', '.join(kinds.OWN_KINDS)}")


def test_an_option_of_no_kind_is_placed_at_its_key() -> None:
    assert first_error({"id": "mail", "url": URL, "ports": 1})[0] == "ports"


def test_an_error_never_repeats_an_address_which_may_hold_a_password() -> None:
    with pytest.raises(ValidationError) as caught:
        service_config.parse_entry({"id": "mail", "url": "http://ann:sesame@host"})
    assert "sesame" not in str(caught.value)


def test_an_entry_does_not_show_its_password() -> None:
    found = service_config.parse_entry({"id": "mail", "url": URL, "password": "sesame"})
    assert found.password == "sesame"
    assert "sesame" not in repr(found)


def test_a_password_comes_from_the_environment_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEACON_SOURCE_MAIL", "sesame")
    seen: list[ServiceAddress] = []
    kind = kinds.get_kind("palantir")

    def build(address: ServiceAddress, options: Any, bound: int) -> Source:
        seen.append(address)
        return kind.build(address, options, bound)

    monkeypatch.setattr(service_config, "get_kind", lambda _: replace(kind, build=build))
    service_config.create_source("palantir", ServiceAddress(URL), {}, "BEACON_SOURCE_MAIL", 10)
    assert seen == [ServiceAddress(URL, "sesame")]


def test_a_missing_variable_makes_the_service_stale_and_says_which() -> None:
    source = service_config.create_source("palantir", ServiceAddress(URL), {}, "BEACON_SOURCE_NONE", 10)
    with pytest.raises(SourceError, match="environment variable BEACON_SOURCE_NONE, which is not set"):
        source.read_snapshot()
    assert source.look_up("a").kind == "cannot-tell"
    assert "BEACON_SOURCE_NONE" in (source.capabilities.why_not("retry-job") or "")


def test_settings_of_another_version_make_the_service_stale_and_say_so() -> None:
    source = service_config.create_source("palantir", ServiceAddress(URL), {"speed": 9}, None, 10)
    with pytest.raises(SourceError, match="settings that cannot be used here: speed"):
        source.read_snapshot()


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        service_config.parse_entry({"id": "mail", "url": "gopher://x", "speed": 9, "finished_visible_for_s": -1})
    assert {error["loc"][0] for error in caught.value.errors()} == {"url", "speed", "finished_visible_for_s"}


@pytest.mark.parametrize(
    "given",
    [
        {"id": "mail", "password": "sesame"},
        {"id": "mail", "url": URL, "password": ["sesame"]},
        {"id": "mail", "url": URL, "password": "sesame", "password_env": "BEACON_SOURCE_MAIL"},
        {"id": "mail", "url": "redis://:sesame@host/0", "kind": "rq", "password_env": "BEACON_SOURCE_MAIL"},
        {"id": "mail", "url": URL, "password": "sesame", "password_env": "BEACON_SECRET_KEY"},
        {"id": "mail", "url": "redis://:sesame@host:port/0", "kind": "rq"},
    ],
)
def test_no_error_repeats_a_password(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        service_config.parse_entry(given)
    assert "sesame" not in f"{caught.value} {caught.value.errors()} {caught.value.__cause__}"


def test_the_settings_of_beacon_are_no_passwords_of_services() -> None:
    """Whoever may name a service would otherwise have them sent to it."""
    assert first_error({"id": "mail", "url": URL, "password_env": "BEACON_SECRET_KEY"})[0] == "password_env"


def test_a_kind_that_fails_to_build_makes_its_service_stale_and_tells_no_secret(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def build(address: ServiceAddress, options: Any, bound: int) -> Source:
        raise KeyError(address.password)

    monkeypatch.setattr(service_config, "get_kind", lambda _: replace(kinds.get_kind("palantir"), build=build))
    source = service_config.create_source("palantir", ServiceAddress(URL, "sesame"), {}, None, 10)
    with pytest.raises(SourceError, match=r"whose source could not be created \(KeyError\)"):
        source.read_snapshot()
    assert "sesame" not in caplog.text
