"""Settings: from the environment, typed, and refused with one sentence that names the variable."""

import stat
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.cli import doctor
from app.config import SECRET_SETTINGS, ConfigError, Settings, load_settings, prepare_instance_dir
from app.infra import postgres_dump
from scripts import settings_reference


def refusal(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as refused:
        load_settings()
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def test_defaults_are_those_of_the_contract() -> None:
    settings = load_settings()
    assert settings.instance_dir == Path("instance").absolute()
    assert settings.database_url == f"sqlite:///{Path('instance/beacon.db').absolute()}"
    expected = {
        "heartbeat_s": 15,
        "poll_interval_s": 5,
        "fallback_poll_s": 5,
        "stream_lifetime_s": 3600,
        "max_streams": 10_000,
        "max_streams_per_user": 8,
        "connect_rate_per_user": 20,
        "publish_rate_per_user": 200,
        "event_retention_days": 7,
        "workers": 1,
        "bind": "127.0.0.1",
        "port": 8000,
        "job_list_bound": 100_000,
        "drain_s": 20,
        "flag_overrides": {},
    }
    assert settings.model_dump(include=set(expected)) == expected


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BEACON_HEARTBEAT_S", "2.5")
    monkeypatch.setenv("BEACON_INSTANCE_DIR", str(tmp_path))
    settings = load_settings()
    assert (settings.heartbeat_s, settings.instance_dir) == (2.5, tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path / 'beacon.db'}"


@pytest.mark.parametrize(
    ("environment", "port"),
    [
        ({"PORT": "9001"}, 9001),
        ({"BEACON_PORT": "9002"}, 9002),
        ({"PORT": "9001", "BEACON_PORT": "9002"}, 9002),
        ({"PORT": "9001", "BEACON_PORT": ""}, 9001),
        ({"PORT": ""}, 8000),
    ],
)
def test_the_port_may_be_named_plainly(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], port: int) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings().port == port


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BEACON_PORT", "http"),
        ("BEACON_PORT", "65536"),
        ("PORT", "eighty"),
        ("BEACON_HEARTBEAT_S", "0"),
        ("BEACON_HEARTBEAT_S", "soon"),
        ("BEACON_HEARTBEAT_S", "nan"),
        ("BEACON_WORKERS", "0"),
        ("BEACON_DRAIN_S", "-1"),
        ("BEACON_MAX_STREAMS", "0"),
        ("BEACON_MAX_STREAMS_PER_USER", "0"),
        ("BEACON_MAX_STREAMS_PER_USER", "-3"),
        ("BEACON_CONNECT_RATE_PER_USER", "0"),
        ("BEACON_PUBLISH_RATE_PER_USER", "many"),
        ("BEACON_EVENT_RETENTION_DAYS", "-7"),
        ("BEACON_FLAG_ENABLE_SSE_STREAMING", "maybe"),
        ("BEACON_DATABASE_URL", "mysql://host/name"),
        ("BEACON_DATABASE_URL", "beacon.db"),
        ("BEACON_DATABASE_URL", "sqlite://"),
        ("BEACON_PASSWORD_ENV_PREFIXES", "X"),
        ("BEACON_PASSWORD_ENV_PREFIXES", "BEACON_"),
        ("BEACON_PASSWORD_ENV_PREFIXES", "MAIL_,BEACON_SECRET"),
        ("BEACON_ALLOWED_NETWORKS", "here"),
        ("BEACON_ALLOWED_NETWORKS", "169.254.0.0/99"),
        ("BEACON_ALLOWED_SOCKETS", "run/valkey.sock"),
        ("BEACON_ALLOWED_SOCKETS", "/run/valkey/../docker.sock"),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    sentence = refusal(monkeypatch, **{name: value})
    assert name.removeprefix("BEACON_") in sentence
    if name == "PORT":
        assert sentence.startswith("PORT is 'eighty'")


def test_one_stream_for_each_user_is_too_few_and_the_sentence_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = refusal(monkeypatch, BEACON_MAX_STREAMS_PER_USER="1")
    assert sentence.startswith("BEACON_MAX_STREAMS_PER_USER is '1': at least 2 are needed, because a browser ")
    monkeypatch.setenv("BEACON_MAX_STREAMS_PER_USER", "2")
    assert load_settings().max_streams_per_user == 2


def test_postgresql_needs_a_secret_that_all_hosts_share(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "BEACON_SECRET_KEY" in refusal(monkeypatch, BEACON_DATABASE_URL="postgresql://localhost/beacon")
    monkeypatch.setenv("BEACON_SECRET_KEY", "x" * 32)
    settings = load_settings()
    assert settings.database_url == "postgresql+psycopg://localhost/beacon"
    assert not settings.is_sqlite


def test_a_password_behind_the_address_is_hidden_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `beacon doctor` shows it, and `beacon backup` gives it to `pg_dump` as an argument."""
    monkeypatch.setenv("BEACON_SECRET_KEY", "k")
    monkeypatch.setenv("BEACON_DATABASE_URL", "postgresql://host/name?user=ada&password=s%40cret&sslmode=require")
    settings = load_settings()
    shown = [*doctor.settings_lines(settings), *postgres_dump._connection_arguments(settings.database_url)]
    assert "cret" not in " ".join(shown)
    url = sa.make_url(settings.database_url)
    assert (url.username, url.password, url.query) == ("ada", "s@cret", {"sslmode": "require"})
    assert "DATABASE_URL is" in refusal(monkeypatch, BEACON_DATABASE_URL="postgresql://host/name?password=secret")


def test_a_relative_sqlite_file_means_the_same_file_to_everyone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BEACON_DATABASE_URL", "sqlite:///some.db")
    assert load_settings().database_url == f"sqlite:///{tmp_path / 'some.db'}"


def test_flags_can_be_overridden_for_everyone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEACON_FLAG_ENABLE_SSE_STREAMING", "On")
    monkeypatch.setenv("BEACON_FLAG_OTHER", "off")
    monkeypatch.setenv("BEACON_FLAG_EMPTY", "")
    assert load_settings().flag_overrides == {"enable_sse_streaming": True, "other": False}


def test_what_services_may_have_is_separated_by_commas_or_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEACON_PASSWORD_ENV_PREFIXES", "BEACON_SOURCE_, MAIL_")
    monkeypatch.setenv("BEACON_ALLOWED_NETWORKS", "169.254.1.0/24 fd00:ec2::254")
    monkeypatch.setenv("BEACON_ALLOWED_SOCKETS", "/run/valkey, /run/a.sock")
    settings = load_settings()
    assert settings.allowed_sockets == ("/run/valkey", "/run/a.sock")
    assert settings.password_env_prefixes == ("BEACON_SOURCE_", "MAIL_")
    assert settings.allowed_networks == ("169.254.1.0/24", "fd00:ec2::254")


def test_the_secret_is_not_shown() -> None:
    assert "hush" not in repr(Settings(secret_key="hush"))


class TestInstanceFolder:
    def test_it_is_made_for_its_owner_alone_with_a_secret_that_stays(self, tmp_path: Path) -> None:
        folder = tmp_path / "new" / "instance"
        first, second = Settings(instance_dir=folder), Settings(instance_dir=folder)
        prepare_instance_dir(first)
        prepare_instance_dir(second)
        assert len(first.secret_key) >= 32
        assert first.secret_key == second.secret_key
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
        assert [path.name for path in folder.iterdir()] == ["secret_key"]

    def test_two_folders_have_two_secrets(self, tmp_path: Path) -> None:
        one, two = Settings(instance_dir=tmp_path / "1"), Settings(instance_dir=tmp_path / "2")
        prepare_instance_dir(one)
        prepare_instance_dir(two)
        assert one.secret_key != two.secret_key

    def test_a_given_secret_is_kept_nowhere(self, tmp_path: Path) -> None:
        prepare_instance_dir(Settings(instance_dir=tmp_path / "i", secret_key="given"))
        assert list((tmp_path / "i").iterdir()) == []

    def test_where_it_cannot_be_written_one_sentence_says_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ConfigError, match=r"cannot write .*file/instance .*BEACON_INSTANCE_DIR"):
            prepare_instance_dir(Settings(instance_dir=tmp_path / "file" / "instance"))

    def test_an_empty_secret_file_is_not_a_secret(self, tmp_path: Path) -> None:
        """A full disk or a crash between creating the file and writing it."""
        (tmp_path / "secret_key").touch()
        settings = Settings(instance_dir=tmp_path)
        with pytest.raises(ConfigError, match="secret_key"):
            prepare_instance_dir(settings)


def test_widget_origins_are_separated_by_commas_or_blanks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEACON_WIDGET_ORIGINS", "https://a.example, http://127.0.0.1:8080")
    assert load_settings().widget_origins == ("https://a.example", "http://127.0.0.1:8080")


@pytest.mark.parametrize("origin", ["*", "https://a.example/", "a.example", "https://*.example", "https://a.example;x"])
def test_a_widget_origin_is_exactly_one(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    assert "is not an origin" in refusal(monkeypatch, BEACON_WIDGET_ORIGINS=origin)


def test_the_reference_of_settings_says_what_their_descriptions_say() -> None:
    assert all(field.description for field in Settings.model_fields.values()), "each setting has a description"
    stored = settings_reference.REFERENCE.read_text()
    assert stored == settings_reference.render(), "run .venv/bin/python -m scripts.settings_reference"


@pytest.mark.parametrize(
    "address", ["redis://cache:6379/0", "rediss://:secret@cache/1", "unix:///run/valkey.sock?db=2"]
)
def test_addresses_of_a_redis_server_are_taken(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("BEACON_REDIS_URL", f" {address}\n")
    assert load_settings().redis_url == address


@pytest.mark.parametrize(
    "address",
    [
        *("cache:6379", "http://cache", "redis://", "redis://:secret@cache/one"),
        *("redis://:secret@cache:63790x", "redis://:secret@cache:70000/0", "redis://:secret@[::1"),
        *("redis://:secret@cache..example", f"redis://:secret@{'c' * 64}"),
    ],
)
def test_what_is_no_address_of_a_redis_server_is_refused_unsaid(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    sentence = refusal(monkeypatch, BEACON_REDIS_URL=address)
    assert "BEACON_REDIS_URL" in sentence
    assert "redis://host:6379/0" in sentence
    assert "secret" not in sentence


class TestSecretFiles:
    def test_a_secret_is_read_from_its_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("from the file\n")
        monkeypatch.setenv("BEACON_SECRET_KEY_FILE", str(tmp_path / "key"))
        assert load_settings().secret_key == "from the file"

    def test_every_secret_has_one(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in SECRET_SETTINGS:
            sentence = refusal(monkeypatch, **{f"BEACON_{name.upper()}_FILE": str(tmp_path / "away")})
            assert f"BEACON_{name.upper()}_FILE: {tmp_path / 'away'} cannot be read (No such file" in sentence
            monkeypatch.delenv(f"BEACON_{name.upper()}_FILE")

    def test_an_empty_one_and_two_values_are_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "key").write_text("\n")
        assert "is empty" in refusal(monkeypatch, BEACON_SECRET_KEY_FILE=str(tmp_path / "key"))
        assert "are both set" in refusal(monkeypatch, BEACON_SECRET_KEY="other")
