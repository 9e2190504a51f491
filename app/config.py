"""Defines all settings of Beacon: typed, with the unit in the name, validated once at start."""

import base64
import os
import re
import secrets
import time
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.components import components
from app.sources.host_rules import PASSWORD_PREFIX, is_own_variable, parse_networks
from app.web.trusted_proxies import IpNetwork, is_path_prefix, parse_network

SECRET_FILE_WAIT_S = 1.0
ORIGIN_PATTERN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::\d{1,5})?")
FLAG_OVERRIDE_PATTERN = re.compile(r"^BEACON_FLAG_([A-Z0-9_]+)$")
DATABASE_URL_HELP = "DATABASE_URL is sqlite:////path/to/file or postgresql://user:password@host/name"
# Settings that are secrets, or may contain one in a mistyped URL: error messages never repeat their values.
SECRET_SETTINGS = {
    "audit_head_url",
    "secret_key",
    "database_url",
    "unleash_url",
    "unleash_api_token",
    "unleash_admin_token",
    "redis_url",
    "prometheus_url",
    "rollout_webhook_url",
    "rollout_webhook_secret",
}
REDIS_URL_PATTERN = re.compile(r"rediss?://[^\s/?#]+(/\d+)?|unix:///[^\s?#]+(\?db=\d+)?")


class ConfigError(Exception):
    """A setting is invalid; the text is one sentence for the person who starts Beacon."""


class Settings(BaseSettings):
    """Read from environment variables with the prefix `BEACON_`. Tests pass fields to `Settings(...)` directly."""

    model_config = SettingsConfigDict(
        env_prefix="BEACON_",
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    instance_dir: Path = Path("instance")
    """Folder with the embedded database, generated secrets and the audit's head; it is made with mode 0700."""
    database_url: str = ""
    """`sqlite:////path/to/file` or `postgresql://user:password@host/name`; without it, `beacon.db` in the instance
    folder."""
    secret_key: str = Field(default="", repr=False)
    """Signs cookies and short-lived tokens. It is generated and kept in the instance folder with SQLite, and required
    with PostgreSQL."""
    redis_url: str = Field(default="", repr=False)
    """Redis or Valkey server that wakes the workers of all hosts and counts their rate limits, like `redis://host:6379/0`;
    without it, PostgreSQL wakes them and each worker counts for itself."""
    sources_file: Path | None = None
    """TOML file that names the services to watch (docs/sources.md)."""
    heartbeat_s: float = Field(default=15, gt=0, le=300)
    """Seconds between two heartbeats of a stream."""
    poll_interval_s: float = Field(default=5, gt=0, le=3600)
    """Seconds between two polls of a service."""
    fallback_poll_s: float = Field(default=5, gt=0, le=300)
    """Seconds between two polls of a page that does not stream."""
    stream_lifetime_s: float = Field(default=3600, gt=0)
    """Seconds after which a stream ends and its client resumes, plus or minus a fifth."""
    max_streams: int = Field(default=10_000, ge=1)
    """Open streams of one worker."""
    max_streams_per_user: int = Field(default=8, ge=1)
    """Open streams of one user on all workers together; at least 2."""
    connect_rate_per_user: int = Field(default=20, ge=1)
    """Streams that one user may open in a second, counted by each worker, or by all together with
    `BEACON_REDIS_URL`."""
    publish_rate_per_user: int = Field(default=200, ge=1)
    """Requests to `POST /api/events` of one user in a second, counted by each worker, or by all together with
    `BEACON_REDIS_URL`."""
    session_idle_hours: float = Field(default=12, gt=0, le=336)
    """Hours without activity after which a login ends."""
    event_retention_days: float = Field(default=7, gt=0)
    """Days for which the log keeps an event."""
    event_max_rows: int = Field(default=5_000_000, ge=1_000)
    """Events that the log keeps at most; the oldest go first."""
    event_max_mib: int = Field(default=4_096, ge=1)
    """MiB of payloads that the log keeps at most; the oldest events go first."""
    audit_retention_days: float = Field(default=0, ge=0)
    """Days for which the audit keeps an entry; 0 keeps them for ever."""
    audit_head_file: Path | None = None
    """File in which this host keeps the audit's head; without it, `audit-head.json` in the instance folder."""
    audit_head_url: str = Field(default="", repr=False)
    """Address of a witness that gets the audit's head every ten minutes. It may hold credentials and is never shown."""
    workers: int = Field(default=1, ge=1, le=64)
    """Web workers of this host."""
    bind: str = "127.0.0.1"
    """Address that the web server listens on."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port that the web server listens on; 0 takes a free one. The plain variable `PORT` works too."""
    job_list_bound: int = Field(default=100_000, ge=1)
    """Jobs of one service that a poll lists at most; beyond that only their number is compared."""
    drain_s: float = Field(default=20, ge=0, le=300)
    """Seconds that a worker waits for its streams and commands before it stops."""
    environment_name: str = "development"
    """Name in the badge of every page; `production` is red."""
    unleash_url: str = ""
    """Address of an Unleash server that keeps the rollout; without it, Beacon's own database does."""
    unleash_api_token: str = Field(default="", repr=False)
    """Backend token with which workers read flags from Unleash."""
    unleash_admin_token: str = Field(default="", repr=False)
    """Admin token with which Beacon changes a flag in Unleash; without it, the rollout is read-only."""
    unleash_environment: str = ""
    """Environment in Unleash whose rollout Beacon changes; without it, the one that the backend token names."""
    guardrail_mode: Literal["hold", "step-back", "dry-run", "off"] = "hold"
    """What the guardrail does when browsers report failures: hold the rollout, step it back, only say that it would
    hold (a dry run), or nothing."""
    guardrail_max_failures: float = Field(default=0.05, ge=0, le=1)
    """Share of failed attempts to connect above which the guardrail acts."""
    guardrail_max_lag_s: float = Field(default=2, gt=0)
    """Seconds of delivery lag above which the guardrail acts."""
    guardrail_window_s: int = Field(default=300, ge=60, le=86_400)
    """Seconds of reports that the guardrail looks at."""
    guardrail_min_attempts: int = Field(default=30, ge=1)
    """Measurements of the delivery lag below which the guardrail does not judge it."""
    prometheus_url: str = ""
    """Address of a Prometheus, whose query may be one more limit of the guardrail."""
    rollout_webhook_url: str = ""
    """Address to which each change of the rollout is sent, signed as Standard Webhooks say; without it, none is."""
    rollout_webhook_secret: str = Field(default="", repr=False)
    """Secret of that webhook: `whsec_` and 24 to 64 bytes in Base64."""
    client_report_share: float = Field(default=1.0, ge=0, le=1)
    """Share of pages that report how their connection does, from 0 to 1."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses and networks of proxies, separated by commas; only from them do `X-Forwarded-…` headers count."""
    path_prefix: str = ""
    """Path below which a proxy shows Beacon, like `/beacon`; without it, `X-Forwarded-Prefix` of a trusted proxy
    counts."""
    widget_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins whose pages may embed the notification panel, separated by commas."""
    password_env_prefixes: Annotated[tuple[str, ...], NoDecode] = (PASSWORD_PREFIX,)
    """Beginnings of the names of variables that a service's `password_env` may name."""
    allowed_networks: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks that services may have addresses in although they are link-local or for cloud metadata."""
    allowed_sockets: Annotated[tuple[str, ...], NoDecode] = ()
    """Unix sockets, or folders of them, that services may have addresses of, if not from the services file."""
    flag_overrides: dict[str, bool] = Field(default_factory=dict)
    """`BEACON_FLAG_<NAME>=on` or `off` decides a flag for everybody, whatever the rollout says."""

    @field_validator("trusted_proxies", "password_env_prefixes", "allowed_networks", "allowed_sockets", mode="before")
    @classmethod
    def _split_list(cls, value: Any) -> Any:
        """Split a list that is separated by commas or spaces."""
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("password_env_prefixes")
    @classmethod
    def _check_prefixes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for prefix in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{2,}", prefix) or is_own_variable(prefix):
                raise ValueError(f"{prefix} is not a valid prefix; expected the start of names, like {PASSWORD_PREFIX}")
        return value

    @field_validator("allowed_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parse_networks(value)
        except ValueError as error:
            raise ValueError(f"{error}; expected addresses or networks, like 169.254.10.0/24") from error
        return value

    @field_validator("allowed_sockets")
    @classmethod
    def _check_sockets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not path.startswith("/") or ".." in path.split("/"):
                raise ValueError(f"{path} is not a path; expected one like /run/valkey/valkey.sock or /run/valkey")
        return value

    @field_validator("instance_dir")
    @classmethod
    def _make_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, value: str) -> str:
        value = value.strip()
        if value and not (REDIS_URL_PATTERN.fullmatch(value) and _can_be_resolved(value)):
            raise ValueError("expected an address like redis://host:6379/0, rediss://host:6379/0 or unix:///path?db=0")
        return value

    @field_validator("audit_head_url")
    @classmethod
    def _check_head_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^/\s?#]+(/\S*)?", value):
            raise ValueError("expected an address like https://witness.example.com/beacon")
        return value

    @field_validator("widget_origins", mode="before")
    @classmethod
    def _check_origins(cls, value: Any) -> Any:
        """Split a list of origins and check each. They go into a header and are compared as text."""
        origins = value.replace(",", " ").split() if isinstance(value, str) else value
        for origin in origins:
            if not ORIGIN_PATTERN.fullmatch(origin):
                named = "one with credentials" if "@" in origin else origin
                raise ValueError(f"{named} is not an origin; expected https://host or https://host:port, in lower case")
        return tuple(origins)

    @field_validator("trusted_proxies")
    @classmethod
    def _parse_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(parse_network(one)) for one in value)

    @field_validator("path_prefix")
    @classmethod
    def _check_path_prefix(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not is_path_prefix(value):
            raise ValueError("expected a path of letters, digits, dots, dashes and underscores, like /beacon")
        return value

    @field_validator("max_streams_per_user")
    @classmethod
    def _check_at_least_two(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                "at least 2 are needed, because a browser may open its next stream before the last one has ended"
            )
        return value

    @field_validator("unleash_url", "unleash_api_token", "unleash_admin_token", "unleash_environment", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        """Strip whitespace: a file with CRLF leaves a carriage return."""
        return value.strip() if isinstance(value, str) else value

    @field_validator("unleash_api_token", "unleash_admin_token")
    @classmethod
    def _check_token(cls, value: str) -> str:
        """Check that the token can be sent as a header; an error while sending would reveal it."""
        if not re.fullmatch(r"[!-~]*", value):
            raise ValueError("expected a token of printable ASCII characters without spaces")
        return value

    @field_validator("unleash_url")
    @classmethod
    def _normalize_unleash_url(cls, value: str) -> str:
        """Accept the URL with or without the /api that Unleash's own clients use."""
        value = value.rstrip("/").removesuffix("/api")
        if value and not re.fullmatch(r"https?://[^/\s@?#]+(/[^\s?#]*)?", value):
            raise ValueError("expected the URL of Unleash, like https://unleash.example.com, without credentials")
        return value

    @field_validator("prometheus_url")
    @classmethod
    def _normalize_prometheus_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^/\s@?#]+(/[^\s?#]*)?", value):
            raise ValueError("expected the URL of a Prometheus, like http://prometheus:9090, without credentials")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_webhook(self) -> Self:
        if not self.rollout_webhook_url:
            return self
        if not re.fullmatch(r"https?://[^/\s@?#]+(/\S*)?", self.rollout_webhook_url):
            raise ValueError("BEACON_ROLLOUT_WEBHOOK_URL is an address like https://hooks.example.com/rollout")
        text = self.rollout_webhook_secret
        try:
            key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
            raise ValueError("BEACON_ROLLOUT_WEBHOOK_SECRET is whsec_ and 24 to 64 bytes in Base64")
        return self

    @model_validator(mode="after")
    def _check_unleash(self) -> Self:
        """Check the Unleash settings together. A backend token names its environment: project:environment.secret."""
        if not self.unleash_url:
            return self
        if not self.unleash_api_token:
            raise ValueError("UNLEASH_URL needs BEACON_UNLEASH_API_TOKEN, a backend token of that Unleash")
        named = re.match(r"[^:.]+:([^:.*]+)\.", self.unleash_api_token)
        if named is None and not self.unleash_environment:
            raise ValueError("set BEACON_UNLEASH_ENVIRONMENT: BEACON_UNLEASH_API_TOKEN does not name one")
        if named is not None and self.unleash_environment not in ("", named[1]):
            raise ValueError(
                "BEACON_UNLEASH_ENVIRONMENT and BEACON_UNLEASH_API_TOKEN are for different environments, so Beacon "
                "would show one and change the other; unset it, or use a token of that environment"
            )
        if named is not None:
            self.unleash_environment = named[1]
        return self

    @model_validator(mode="after")
    def _derive_database_url(self) -> Self:
        if not self.database_url:
            self.database_url = f"sqlite:///{self.instance_dir / 'beacon.db'}"
        if self.database_url.startswith("postgresql://"):
            self.database_url = "postgresql+psycopg://" + self.database_url.removeprefix("postgresql://")
        elif self.database_url.startswith("sqlite:///"):
            # An absolute path, so that every process opens the same file, whatever its working directory.
            self.database_url = f"sqlite:///{Path(self.database_url.removeprefix('sqlite:///')).absolute()}"
        if not self.database_url.startswith(("sqlite:///", "postgresql+psycopg://")):
            raise ValueError(DATABASE_URL_HELP)
        try:
            self.database_url = _move_password(self.database_url)
        except (sa.exc.ArgumentError, ValueError):  # its text may contain the password
            raise ValueError(DATABASE_URL_HELP) from None
        if not self.is_sqlite and not self.secret_key:
            raise ValueError(
                "SECRET_KEY is required with PostgreSQL, because every host must share it; "
                "set BEACON_SECRET_KEY to at least 32 random characters"
            )
        return self

    @cached_property
    def trusted_networks(self) -> tuple[IpNetwork, ...]:
        """Networks whose `X-Forwarded-…` headers are trusted; all others are ignored."""
        return tuple(map(parse_network, self.trusted_proxies))

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite:")

    @property
    def audit_head_path(self) -> Path:
        """File for the audit log's head, outside the database and private to this host."""
        return (self.audit_head_file or self.instance_dir / "audit-head.json").expanduser().absolute()

    @property
    def database_name(self) -> str:
        """Identifies the database in data stored elsewhere. Without user and password; a file in the instance folder is
        given relative to it, so that the folder can be moved."""
        url = sa.make_url(self.database_url)
        if not self.is_sqlite:
            named = sa.URL.create("postgresql", host=url.host, port=url.port, database=url.database)
            return named.render_as_string()
        file = Path(url.database or "")
        return f"sqlite:{file.relative_to(self.instance_dir) if file.is_relative_to(self.instance_dir) else file}"


def load_settings(**overrides: Any) -> Settings:
    """Load settings from the environment. Raises `ConfigError` with a sentence that names the variable."""
    values: dict[str, Any] = {"flag_overrides": _read_flag_overrides(), **_read_secret_files(), **overrides}
    plain_port = os.environ.get("PORT") if "port" not in values and not os.environ.get("BEACON_PORT") else None
    if plain_port:
        values["port"] = plain_port
    try:
        return Settings(**values)
    except ValidationError as error:
        sentence = _error_sentence(error)
        raise ConfigError(sentence.replace("BEACON_PORT", "PORT") if plain_port else sentence) from error


def current_settings() -> Settings:
    """Return the settings of the current application."""
    return components().settings


def prepare_instance_dir(settings: Settings) -> None:
    """Create the instance folder (mode 0700) and the secret key in it. Raises `ConfigError` if it cannot."""
    folder = settings.instance_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not settings.secret_key:
            settings.secret_key = _load_or_create_secret(folder / "secret_key")
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"Beacon cannot write to its instance folder {folder} ({error.strerror}); "
            "make it writable or set BEACON_INSTANCE_DIR to another one"
        ) from error


def _load_or_create_secret(path: Path) -> str:
    """Load or create the secret. If two processes start at once, one creates the file and the other waits for it."""
    try:
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(secrets.token_urlsafe(48))
    except FileExistsError:
        pass
    deadline = time.monotonic() + SECRET_FILE_WAIT_S
    while not (secret := path.read_text().strip()):
        if time.monotonic() >= deadline:
            raise ConfigError(f"{path} is empty; delete it to get a new secret (all users then have to log in again)")
        time.sleep(0.02)
    return secret


def _read_flag_overrides() -> dict[str, bool]:
    found: dict[str, bool] = {}
    for name, value in os.environ.items():
        match = FLAG_OVERRIDE_PATTERN.match(name)
        if match is None or not value:
            continue
        if value.lower() not in ("on", "off"):
            raise ConfigError(f"{name} is {value!r}; expected on or off")
        found[match[1].lower()] = value.lower() == "on"
    return found


def _read_secret_files() -> dict[str, str]:
    """Read the secrets whose file is named in `BEACON_<NAME>_FILE`, as containers and systemd pass them."""
    found: dict[str, str] = {}
    for setting in sorted(SECRET_SETTINGS):
        name = f"BEACON_{setting.upper()}"
        path = os.environ.get(f"{name}_FILE")
        if not path:
            continue
        if os.environ.get(name):
            raise ConfigError(f"{name} and {name}_FILE are both set; unset one of them")
        try:
            found[setting] = Path(path).read_text().strip()
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise ConfigError(f"{name}_FILE: {path} cannot be read ({reason})") from error
        if not found[setting]:
            raise ConfigError(f"{name}_FILE: {path} is empty; write the secret into it")
    return found


def _can_be_resolved(url: str) -> bool:
    """False for a port that is no number or too high, half an IPv6 address, or a name with an empty or a long part."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        return parts.port != 0
    except ValueError:
        return False


def _move_password(database_url: str) -> str:
    """Write a password behind `?` before the `@`, where all that hides passwords or takes them out looks for one."""
    url = sa.make_url(database_url)
    if "password" not in url.query:
        return database_url
    given = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    user = given.get("user") or url.username
    if not user:
        raise ValueError("a password without a user")
    moved = url.set(username=user, password=given["password"]).difference_update_query(["user", "password"])
    return moved.render_as_string(hide_password=False)


def _error_sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    if not first["loc"]:
        return str(first["msg"]).removeprefix("Value error, ")
    name = "BEACON_" + "_".join(str(part) for part in first["loc"]).upper()
    value = "" if first["loc"][0] in SECRET_SETTINGS or "@" in str(first["input"]) else f" is {first['input']!r}"
    text = str(first["msg"]).removeprefix("Value error, ")
    return f"{name}{value}: {text[:1].lower()}{text[1:]}"
