"""One service as a person configures it, in the file, the browser or the shell; checked by its kind."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.sources.base import Address, Kind, Options, Source
from app.sources.kinds import UnknownKind, kind
from app.sources.unusable import Unusable

DEFAULT_KIND = "palantir"


class _Named(BaseModel):
    """What every kind has in common."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)] = ""
    kind: str = DEFAULT_KIND
    url: Annotated[str, StringConstraints(max_length=2_000)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] | None = Field(None, repr=False)
    password_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """`url` holds no password: that is in `password`, or in the environment under the name `password_env`."""

    id: str
    name: str
    kind: str
    url: str
    options: Options
    password: str | None = field(default=None, repr=False)
    password_env: str | None = None


def parse_entry(given: Mapping[str, Any]) -> ServiceEntry:
    """Raises `ValidationError`, each error placed at its key."""
    named = _Named.model_validate(given)
    chosen = _kind(named.kind)
    address = _address(chosen, named.url)
    rest = {key: value for key, value in given.items() if key not in _Named.model_fields}
    options = chosen.options.model_validate(rest)
    password = named.password or address.password
    return ServiceEntry(
        named.id, named.name or named.id, named.kind, address.url, options, password, named.password_env
    )


def keys_of(kind_name: str) -> list[str]:
    """What may be said of a service of this kind."""
    try:
        return [*_Named.model_fields, *kind(kind_name).options.model_fields]
    except UnknownKind:
        return list(_Named.model_fields)


def build(kind_name: str, address: Address, options: Mapping[str, Any], password_env: str | None, bound: int) -> Source:
    """The source of a service as it was kept. One that cannot be made here is never heard, and says why."""
    try:
        chosen = kind(kind_name)
        password = address.password if password_env is None else os.environ[password_env]
        return chosen.build(address._replace(password=password), chosen.options.model_validate(options), bound)
    except UnknownKind:
        return Unusable(f"is of the kind {kind_name}, which is not installed here")
    except KeyError:
        return Unusable(f"needs its password in the environment variable {password_env}, which is not set")
    except ValidationError as error:
        first = error.errors()[0]
        return Unusable(f"has settings that cannot be used here: {'.'.join(map(str, first['loc']))}: {first['msg']}")


def _kind(name: str) -> Kind:
    try:
        return kind(name)
    except UnknownKind as error:
        raise _at("kind", name, str(error)) from error


def _address(chosen: Kind, url: str) -> Address:
    try:
        return chosen.check_url(url)
    except ValueError as error:
        raise _at("url", url, str(error)) from error


def _at(key: str, given: str, message: str) -> ValidationError:
    # The message is data: it may hold braces.
    fault = PydanticCustomError("configuration", "{message}", {"message": message})
    shown = given if key == "kind" else ""  # an address may hold a password
    return ValidationError.from_exception_data("service", [InitErrorDetails(type=fault, loc=(key,), input=shown)])
