"""Builds the form for registering a service from the options that its kind declares, and parses it."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.reconciliation.models import Service
from app.sources import kinds
from app.sources.protocol import Kind

InputType = Literal["text", "number", "checkbox", "list", "select", "password", "mixed"]
PASSWORD_FIELD = "password"  # noqa: S105 -- the field's name
REMOVE_PASSWORD_FIELD = "remove_password"  # noqa: S105 -- the field's name
_QUERY_PASSWORD = re.compile(r"(password=)[^&]*", re.IGNORECASE)
_INPUT_TYPES: dict[str, InputType] = {
    "string": "text",
    "boolean": "checkbox",
    "array": "list",
    "integer": "number",
    "number": "number",
}


@dataclass(frozen=True, slots=True)
class KindChoice:
    """A kind that can be chosen; `why_not` is set if it cannot be used."""

    name: str
    about: str
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of the form.

    `value` is its initial content, never a password. `error` is shown next to it. `now` is the stored value, if that
    differs from `value`.
    """

    name: str
    label: str
    shape: InputType
    value: str = ""
    hint: str = ""
    example: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    error: str | None = None
    now: str | None = None


def list_kinds() -> list[KindChoice]:
    """Beacon's own kinds first; one that cannot be loaded is listed with the reason."""
    broken = kinds.list_broken_kinds()
    usable = [KindChoice(name, kinds.get_kind(name).about) for name in kinds.list_kinds() if name not in broken]
    return [*usable, *(KindChoice(name, "", why) for name, why in sorted(broken.items()))]


def build_fields(kind: Kind, typed: Mapping[str, str], errors: Mapping[str, str], *, is_new: bool) -> list[FormField]:
    """The fields for a service of this kind, with what was typed and the errors."""

    def field(name: str, label: str, shape: InputType = "text", **more: Any) -> FormField:
        value = "" if shape == "password" else typed.get(name, "")
        return FormField(name, label, shape, value, error=errors.get(name), **more)

    small = "Lowercase letters, digits, . _ and -. It is part of addresses and events and cannot be changed later."
    stays = "Leave it empty to keep the stored password. A new address needs it again."
    kept = "Stored for the poller and never shown again." if is_new else stays
    elsewhere = "A variable of the server's environment to use instead of a password, for example BEACON_SOURCE_MAIL."
    ours = [field("id", "Id", required=True, hint=small)] if is_new else []
    return [
        *ours,
        field("name", "Name", hint="Shown on the dashboard. Defaults to the id."),
        field("url", "Address", required=True, example=kind.url_example),
        field(PASSWORD_FIELD, "Password", "password", hint=kept),
        field("password_env", "Environment variable with the password", hint=elsewhere),
        *(_option_field(name, about, typed, errors) for name, about in _option_schemas(kind).items()),
    ]


def add_current_values(fields: Sequence[FormField], row: Service) -> list[FormField]:
    """The same fields with the stored values, for a form that conflicts with somebody else's change."""
    kept = build_form_values(row)
    return [field if field.shape == "password" else replace(field, now=_current_value(field, kept)) for field in fields]


def _current_value(field: FormField, kept: Mapping[str, str]) -> str | None:
    stands = kept.get(field.name, "")
    if field.shape == "checkbox":
        return None if bool(field.value) == bool(stands) else "ticked" if stands else "not ticked"
    if [line.strip() for line in field.value.splitlines()] == stands.splitlines():
        return None
    return ", ".join(stands.splitlines()) or "empty"


def build_form_values(row: Service) -> dict[str, str]:
    """The service as values of its form."""
    options = {name: _as_text(value) for name, value in json.loads(row.options_json).items()}
    return {"id": row.id, "name": row.name, "url": row.url, "password_env": row.password_env or "", **options}


def parse_form(kind: Kind | None, form: Mapping[str, str], *, is_new: bool) -> dict[str, Any]:
    """The form as an entry of the services file. An empty field means the default."""
    given: dict[str, Any] = {name: form.get(name, "").strip() or None for name in ("name", "url", "password_env")}
    if is_new:
        given |= {"id": form.get("id", "").strip(), "kind": form.get("kind") or kinds.DEFAULT_KIND}
    given |= _parse_password(form)
    for name, about in (_option_schemas(kind) if kind else {}).items():
        given[name] = _parse_value(_input_type(about), form.get(name))
    return {name: value for name, value in given.items() if value is not None} if is_new else given


def parse_toml_or_text(text: str) -> Any:
    """`60`, `true` or `["a"]` as in TOML; plain text needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def echo_form(form: Mapping[str, str]) -> dict[str, str]:
    """What was typed, to be shown again next to the errors."""
    return {name: strip_password(text) for name, text in form.items()}


def strip_password(text: str) -> str:
    """A rejected address, without anything that may be a password."""
    head, mark, rest = text.partition("://") if "://" in text else ("", "", text)
    login, at, place = rest.rpartition("@")
    user = login.partition(":")[0]
    return _QUERY_PASSWORD.sub(r"\1", f"{head}{mark}{user}{at if user else ''}{place}")


def _parse_password(form: Mapping[str, str]) -> dict[str, str | None]:
    if form.get(PASSWORD_FIELD):
        return {PASSWORD_FIELD: form[PASSWORD_FIELD]}
    return {PASSWORD_FIELD: None} if REMOVE_PASSWORD_FIELD in form else {}


def _option_schemas(kind: Kind) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = kind.options.model_json_schema().get("properties", {})
    return found


def _input_type(about: Mapping[str, Any]) -> InputType:
    if "enum" in about:
        return "select"
    return _INPUT_TYPES.get(str(about.get("type")), "mixed")


def _option_field(
    name: str, about: Mapping[str, Any], typed: Mapping[str, str], errors: Mapping[str, str]
) -> FormField:
    shape, usual = _input_type(about), about.get("default")
    words = name.replace("_", " ").capitalize()
    label = f"{words.removesuffix(' s')} (seconds)" if name.endswith("_s") else words
    said = [about.get("description", ""), "One per line." if shape == "list" else ""]
    if usual not in (None, "", [], False) and shape != "checkbox":
        said.append(f"Default: {_show_unprintable(_as_text(usual, ', '))}.")
    value = typed.get(name) if typed else _as_text(usual) if shape == "checkbox" else ""
    hint = " ".join(filter(None, said))
    return FormField(
        name, label, shape, value or "", hint, options=tuple(about.get("enum", ())), error=errors.get(name)
    )


def _parse_value(shape: InputType, text: str | None) -> Any:
    if shape == "checkbox":
        return text is not None
    if not (text or "").strip():
        return None
    lines = (text or "").strip()
    if shape == "list":
        return [line.strip() for line in lines.splitlines() if line.strip()]
    return parse_toml_or_text(lines) if shape == "mixed" else lines


def _as_text(value: Any, between: str = "\n") -> str:
    if isinstance(value, bool):
        return "true" if value else ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return between.join(str(one) for one in value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else str(value)


def _show_unprintable(text: str) -> str:
    """Invisible characters, escaped as in Python and TOML."""
    return text if text.isprintable() else ascii(text)
