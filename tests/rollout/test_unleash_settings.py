"""Where Unleash is and what it is shown: refused at start where it cannot work, and no secret is ever repeated."""

import traceback

import pytest

from app.config import ConfigError, Settings, load_settings

SECRET = "hunter2"
TOKEN = f"default:development.{SECRET}"
UNLEASH = {"URL": "http://unleash.example.com", "API_TOKEN": TOKEN}


def settings(monkeypatch: pytest.MonkeyPatch, **unleash: str) -> Settings:
    for name, value in {**UNLEASH, **unleash}.items():
        monkeypatch.setenv(f"BEACON_UNLEASH_{name}", value)
    return load_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **unleash: str) -> str:
    """The sentence; neither it nor a traceback with everything that led to it holds the secret."""
    with pytest.raises(ConfigError) as refused:
        settings(monkeypatch, **unleash)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("around", ["{}\r", " {}", "\t{} \n"], ids=["a file with CRLF", "a blank", "more of it"])
def test_what_an_env_file_leaves_around_a_value_is_taken_off(monkeypatch: pytest.MonkeyPatch, around: str) -> None:
    found = settings(
        monkeypatch,
        URL=around.format("http://unleash.example.com/api"),
        API_TOKEN=around.format(TOKEN),
        ADMIN_TOKEN=around.format("*:*.admin"),
        ENVIRONMENT=around.format("development"),
    )
    assert (found.unleash_url, found.unleash_environment) == ("http://unleash.example.com", "development")
    assert (found.unleash_api_token, found.unleash_admin_token) == (TOKEN, "*:*.admin")


@pytest.mark.parametrize("name", ["API_TOKEN", "ADMIN_TOKEN"])
@pytest.mark.parametrize("token", [f"a {SECRET}", f"a:b.{SECRET}\r\nX: y", f"{SECRET}é", f"{SECRET}\x7f"])
def test_a_token_that_no_header_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, token: str) -> None:
    assert refusal(monkeypatch, **{name: token}).startswith(f"BEACON_UNLEASH_{name}: ")


@pytest.mark.parametrize(
    "url", [f"https://joe:{SECRET}@unleash.example.com", f"joe:{SECRET}@host", f"http://h?t={SECRET}"]
)
def test_an_address_with_credentials_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert refusal(monkeypatch, URL=url).startswith("BEACON_UNLEASH_URL: expected the URL of Unleash")


@pytest.mark.parametrize(
    "url",
    [f"postgresql://joe:{SECRET}", f"postgresql://joe@host:{SECRET}/name", f"mysql://joe:{SECRET}@host/name"],
)
def test_nor_is_the_password_in_the_address_of_a_database(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("BEACON_DATABASE_URL", url)
    monkeypatch.setenv("BEACON_SECRET_KEY", "x" * 32)
    assert refusal(monkeypatch).startswith("DATABASE_URL is ")


@pytest.mark.parametrize("name", ["WIDGET_ORIGINS", "HEARTBEAT_S", "PORT"])
def test_nor_is_an_address_with_credentials_anywhere_else(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"BEACON_{name}", f"https://joe:{SECRET}@host.example")
    assert refusal(monkeypatch).startswith(f"BEACON_{name}: ")


class TestEnvironment:
    def test_the_token_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert settings(monkeypatch).unleash_environment == "development"
        assert settings(monkeypatch, ENVIRONMENT="development").unleash_environment == "development"

    def test_another_than_the_tokens_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beacon would show one environment and switch off the other."""
        assert "BEACON_UNLEASH_ENVIRONMENT" in refusal(monkeypatch, ENVIRONMENT="production")

    @pytest.mark.parametrize("token", [f"*:*.{SECRET}", SECRET])
    def test_a_token_that_names_none_needs_the_setting(self, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
        assert "set BEACON_UNLEASH_ENVIRONMENT" in refusal(monkeypatch, API_TOKEN=token)
        assert settings(monkeypatch, API_TOKEN=token, ENVIRONMENT="production").unleash_environment == "production"
