"""Reads the TOML file of services to watch. Errors give the line, the key and what was expected."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from app.config import ConfigError
from app.sources.kinds import DEFAULT_KIND
from app.sources.service_config import ServiceEntry, list_keys, parse_entry

TABLE = "service"
# Enough for ten thousand services.
MAX_BYTES = 2 * 1024 * 1024
_HEADER = re.compile(r"^\s*\[\[\s*service\s*\]\]")


class ServicesFileError(ConfigError):
    """The services file is invalid. The text says where, and what was expected."""


def read_services_file(path: Path) -> list[ServiceEntry]:
    """Return every `[[service]]` of the file in order. Raises `ServicesFileError`."""
    try:
        with path.open("rb") as file:
            given = file.read(MAX_BYTES + 1)
        if len(given) > MAX_BYTES:
            raise ServicesFileError(f"the services file {path} is larger than {MAX_BYTES // (1024 * 1024)} MiB")
        text = given.decode().replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ServicesFileError(f"cannot read the services file {path}: {why}") from error
    try:
        return parse_services(text)
    except ServicesFileError as error:
        raise ServicesFileError(f"{path}: {error}") from error


def parse_services(text: str) -> list[ServiceEntry]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ServicesFileError(f"not TOML: {error}") from error
    tables = document.pop(TABLE, [])
    if document:
        raise ServicesFileError(f"{next(iter(document))}: unknown; expected only [[{TABLE}]] tables")
    if not isinstance(tables, list):
        raise ServicesFileError(f"{TABLE}: expected [[{TABLE}]] with double brackets")
    entries = [_parse_table(text, index, table) for index, table in enumerate(tables)]
    _reject_duplicate_ids(text, entries)
    return entries


def _parse_table(text: str, index: int, table: Any) -> ServiceEntry:
    try:
        return parse_entry(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else TABLE
        raise _error_at(text, index, key, _describe_expectation(table, first["type"], str(first["msg"]))) from None


def _describe_expectation(table: Any, fault: str, message: str) -> str:
    if fault == "missing":
        return "is missing"
    if fault == "extra_forbidden":
        return f"unknown key; expected one of {', '.join(list_keys(table.get('kind', DEFAULT_KIND)))}"
    return message.removeprefix("Value error, ")


def _reject_duplicate_ids(text: str, entries: list[ServiceEntry]) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        if entry.id in seen:
            raise _error_at(text, index, "id", f"{entry.id} is used twice; expected an id of its own")
        seen.add(entry.id)


def _error_at(text: str, index: int, key: str, expected: str) -> ServicesFileError:
    line = _find_line(text.splitlines(), index, key)
    where = f"line {line}, " if line else ""
    return ServicesFileError(f"{where}{TABLE}[{index}].{key}: {expected}")


def _find_line(lines: list[str], index: int, key: str) -> int | None:
    """Return the line of `key` in the table, or else of the table's header; None for tables in another notation."""
    headers = [number for number, line in enumerate(lines, 1) if _HEADER.match(line)]
    if index >= len(headers):
        return None
    end = headers[index + 1] - 1 if index + 1 < len(headers) else len(lines)
    wanted = re.compile(rf"""^\s*["']?{re.escape(key)}["']?\s*=""")
    return next((n for n in range(headers[index] + 1, end + 1) if wanted.match(lines[n - 1])), headers[index])
