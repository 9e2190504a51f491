"""The configuration of one service, from the file, the browser or the shell; validated by its kind."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.sources.host_rules import OWN_VARIABLES, HostRules, is_own_variable
from app.sources.kinds import DEFAULT_KIND, UnknownKind, UnloadableKind, get_kind
from app.sources.protocol import Kind, Options, ServiceAddress, Source
from app.sources.unavailable import UnavailableSource

log = logging.getLogger(__name__)

# Shown instead of the regular expression.
_PATTERNS = {
    "id": "expected at most 64 small letters, digits, . _ and -, the first a letter or digit",
    "password_env": "expected the name of a variable of the environment, like BEACON_SOURCE_MAIL",
}
T = TypeVar("T")


class _CommonSettings(BaseModel):
    """The settings that every kind has."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)] = ""
    kind: str = DEFAULT_KIND
    url: Annotated[str, StringConstraints(max_length=2_000)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] | None = Field(None, repr=False)
    password_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """The valid configuration of one service.

    `url` contains no password: that is in `password`, or in the environment variable named by `password_env`.
    """

    id: str
    name: str
    kind: str
    url: str
    options: Options
    password: str | None = field(default=None, repr=False)
    password_env: str | None = None


def parse_entry(given: Mapping[str, Any]) -> ServiceEntry:
    """Validate a service's settings. Raises `ValidationError` with all errors by key; no error repeats a value."""
    collector = _ErrorCollector()
    named = collector.check(lambda: _CommonSettings.model_validate(given))
    chosen = collector.check(lambda: _parse_kind(named.kind if named else _kind_name(given)))
    if chosen is None or not isinstance(given, Mapping):
        raise collector.build_error()
    rest = {key: value for key, value in given.items() if key not in _CommonSettings.model_fields}
    options = collector.check(lambda: chosen.options.model_validate(rest))
    address = collector.check(lambda: _parse_address(chosen, named.url)) if named else None
    if named is None or address is None or options is None:
        raise collector.build_error()
    password = collector.check(lambda: _choose_password(named, address))
    if collector.faults:
        raise collector.build_error()
    return ServiceEntry(
        named.id, named.name or named.id, named.kind, address.url, options, password, named.password_env
    )


def list_keys(kind_name: str) -> list[str]:
    """Return the setting names of a service of this kind."""
    try:
        return [*_CommonSettings.model_fields, *get_kind(kind_name).options.model_fields]
    except UnknownKind:
        return list(_CommonSettings.model_fields)


def create_source(
    kind_name: str,
    address: ServiceAddress,
    options: Mapping[str, Any],
    password_env: str | None,
    bound: int,
    rules: HostRules | None = None,
) -> Source:
    """Create the source of a stored service. If that is impossible here, the result is an `UnavailableSource`.

    `rules`: which variables may contain its password; None for a service from the host's own file.
    """
    refused = rules.refused_variable(password_env) if rules is not None and password_env is not None else None
    if refused is not None:
        return UnavailableSource(
            f"needs its password from the variable {password_env}, which this host does not allow; {refused}"
        )
    if password_env is not None and password_env not in os.environ:
        return UnavailableSource(f"needs its password in the environment variable {password_env}, which is not set")
    password = address.password if password_env is None else os.environ[password_env]
    try:
        chosen = get_kind(kind_name)
        return chosen.build(address._replace(password=password), chosen.options.model_validate(options), bound)
    except UnloadableKind as error:
        return UnavailableSource(f"is of a kind that cannot be used here: {error}")
    except UnknownKind:
        return UnavailableSource(f"is of the kind {kind_name}, which is not installed here")
    except ValidationError as error:
        first = error.errors()[0]
        return UnavailableSource(
            f"has settings that cannot be used here: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        )
    except Exception as error:  # noqa: BLE001 -- a bug in one kind must not stop all other services
        # Only the type: the message may contain the password.
        log.error("creating a source failed, kind=%s, url=%s: %s", kind_name, address.url, type(error).__name__)
        return UnavailableSource(
            f"is of the kind {kind_name}, whose source could not be created ({type(error).__name__})"
        )


class _ErrorCollector:
    """Collects all errors, so that people see them at once. Input values are left out because they may be secret."""

    def __init__(self) -> None:
        self.faults: list[InitErrorDetails] = []

    def check(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except ValidationError as error:
            self.faults += [_error_details(item["type"], item["msg"], item["loc"]) for item in error.errors()]
            return None

    def build_error(self) -> ValidationError:
        return ValidationError.from_exception_data("service", self.faults)


def _kind_name(given: Any) -> Any:
    return given.get("kind", DEFAULT_KIND) if isinstance(given, Mapping) else DEFAULT_KIND


def _parse_kind(name: Any) -> Kind:
    try:
        return get_kind(name if isinstance(name, str) else "")
    except UnknownKind as error:
        raise _error_at("kind", str(error)) from error


def _parse_address(chosen: Kind, url: str) -> ServiceAddress:
    try:
        return chosen.check_url(url)
    except ValueError as error:
        # Without the cause, which may repeat the address and thereby a password.
        raise _error_at("url", str(error)) from None


def _choose_password(named: _CommonSettings, address: ServiceAddress) -> str | None:
    if named.password_env is not None:
        if named.password is not None or address.password is not None:
            raise _error_at(
                "password_env", "expected either a password or the name of a variable that holds it, not both"
            )
        if is_own_variable(named.password_env):  # people who add services must not be able to send those anywhere
            raise _error_at(
                "password_env", f"expected another name than {OWN_VARIABLES}…: those are Beacon's own settings"
            )
    return named.password or address.password


def _error_at(key: str, message: str) -> ValidationError:
    return ValidationError.from_exception_data("service", [_error_details("configuration", message, (key,))])


def _error_details(fault: str, message: str, place: tuple[int | str, ...]) -> InitErrorDetails:
    # The message is passed as data because it may contain braces. The type keeps its own name instead of "custom".
    if fault == "string_pattern_mismatch":
        message = _PATTERNS.get(str(place[0]), message)
    said = {"message": message.removeprefix("Value error, ")}
    return InitErrorDetails(type=PydanticCustomError(fault, "{message}", said), loc=place, input=None)
