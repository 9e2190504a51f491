"""What a person fills in to register a service of some kind, made from what the kind declares; and back again."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from app.reconciliation.models import Service
from app.sources import kinds
from app.sources.protocol import Kind
from app.sources.service_config import DEFAULT_KIND

Shape = Literal["text", "number", "checkbox", "list", "select", "password", "mixed"]
SECRET = "password"  # noqa: S105 -- the field's name
REMOVE_SECRET = "remove_password"  # noqa: S105 -- the field's name
_QUERY_SECRET = re.compile(r"(password=)[^&]*", re.IGNORECASE)
_SHAPES: dict[str, Shape] = {
    "string": "text",
    "boolean": "checkbox",
    "array": "list",
    "integer": "number",
    "number": "number",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A kind that can be chosen, or `why_not`."""

    name: str
    about: str
    why_not: str | None = None


@dataclass(frozen=True, slots=True)
class Field:
    """`value` is what stands in it at first: never a password. `error` stands beside it, and `now`: what is kept by
    now, where that is something else."""

    name: str
    label: str
    shape: Shape
    value: str = ""
    hint: str = ""
    example: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    error: str | None = None
    now: str | None = None


def choices() -> list[Choice]:
    """Beacon's own first; one that cannot be loaded is shown with the reason."""
    broken = kinds.list_broken_kinds()
    usable = [Choice(name, kinds.get_kind(name).about) for name in kinds.list_kinds() if name not in broken]
    return [*usable, *(Choice(name, "", why) for name, why in sorted(broken.items()))]


def kind_named(name: str) -> Kind | None:
    """None for one that cannot be used here."""
    try:
        return kinds.get_kind(name or DEFAULT_KIND)
    except kinds.UnknownKind:
        return None


def fields(kind: Kind, typed: Mapping[str, str], errors: Mapping[str, str], *, is_new: bool) -> list[Field]:
    """The fields of a service of this kind, with what was typed into them and what is wrong with it."""

    def field(name: str, label: str, shape: Shape = "text", **more: Any) -> Field:
        value = "" if shape == "password" else typed.get(name, "")
        return Field(name, label, shape, value, error=errors.get(name), **more)

    small = "Small letters, digits, . _ and -; it stands in addresses and events and cannot be changed later."
    stays = "Left empty, the one that is kept stays; a new address needs it again."
    kept = "Kept for the poller and never shown again." if is_new else stays
    elsewhere = "Of the server's environment, instead of it, like BEACON_SOURCE_MAIL."
    ours = [field("id", "Id", required=True, hint=small)] if is_new else []
    return [
        *ours,
        field("name", "Name", hint="Shown on the dashboard; the id without."),
        field("url", "Address", required=True, example=kind.url_example),
        field(SECRET, "Password", "password", hint=kept),
        field("password_env", "Variable that holds the password", hint=elsewhere),
        *(_option(name, about, typed, errors) for name, about in _properties(kind).items()),
    ]


def beside(fields: Sequence[Field], row: Service) -> list[Field]:
    """The same with what is kept by now, for whoever typed beside somebody else."""
    kept = typed_of(row)
    return [field if field.shape == "password" else replace(field, now=_now(field, kept)) for field in fields]


def _now(field: Field, kept: Mapping[str, str]) -> str | None:
    stands = kept.get(field.name, "")
    if field.shape == "checkbox":
        return None if bool(field.value) == bool(stands) else "ticked" if stands else "not ticked"
    if [line.strip() for line in field.value.splitlines()] == stands.splitlines():
        return None
    return ", ".join(stands.splitlines()) or "empty"


def typed_of(row: Service) -> dict[str, str]:
    """A service as its form shows it."""
    options = {name: _as_text(value) for name, value in json.loads(row.options_json).items()}
    return {"id": row.id, "name": row.name, "url": row.url, "password_env": row.password_env or "", **options}


def given_of(kind: Kind | None, form: Mapping[str, str], *, is_new: bool) -> dict[str, Any]:
    """What a form says, as the services file would. An empty field means what is so without it."""
    given: dict[str, Any] = {name: form.get(name, "").strip() or None for name in ("name", "url", "password_env")}
    if is_new:
        given |= {"id": form.get("id", "").strip(), "kind": form.get("kind") or DEFAULT_KIND}
    given |= _secret(form)
    for name, about in (_properties(kind) if kind else {}).items():
        given[name] = _value(_shape(about), form.get(name))
    return {name: value for name, value in given.items() if value is not None} if is_new else given


def toml_or_word(text: str) -> Any:
    """`60`, `true` or `["a"]` as in TOML; a word needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def echo(form: Mapping[str, str]) -> dict[str, str]:
    """What was typed, to be shown again beside what is wrong with it."""
    return {name: without_password(text) for name, text in form.items()}


def without_password(text: str) -> str:
    """An address that was refused, less whatever may be a password in it."""
    head, mark, rest = text.partition("://") if "://" in text else ("", "", text)
    login, at, place = rest.rpartition("@")
    user = login.partition(":")[0]
    return _QUERY_SECRET.sub(r"\1", f"{head}{mark}{user}{at if user else ''}{place}")


def _secret(form: Mapping[str, str]) -> dict[str, str | None]:
    if form.get(SECRET):
        return {SECRET: form[SECRET]}
    return {SECRET: None} if REMOVE_SECRET in form else {}


def _properties(kind: Kind) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = kind.options.model_json_schema().get("properties", {})
    return found


def _shape(about: Mapping[str, Any]) -> Shape:
    if "enum" in about:
        return "select"
    return _SHAPES.get(str(about.get("type")), "mixed")


def _option(name: str, about: Mapping[str, Any], typed: Mapping[str, str], errors: Mapping[str, str]) -> Field:
    shape, usual = _shape(about), about.get("default")
    words = name.replace("_", " ").capitalize()
    label = f"{words.removesuffix(' s')} (seconds)" if name.endswith("_s") else words
    said = [about.get("description", ""), "One a line." if shape == "list" else ""]
    if usual not in (None, "", [], False) and shape != "checkbox":
        said.append(f"Without it: {_seen(_as_text(usual, ', '))}.")
    value = typed.get(name) if typed else _as_text(usual) if shape == "checkbox" else ""
    hint = " ".join(filter(None, said))
    return Field(name, label, shape, value or "", hint, options=tuple(about.get("enum", ())), error=errors.get(name))


def _value(shape: Shape, text: str | None) -> Any:
    if shape == "checkbox":
        return text is not None
    if not (text or "").strip():
        return None
    lines = (text or "").strip()
    if shape == "list":
        return [line.strip() for line in lines.splitlines() if line.strip()]
    return toml_or_word(lines) if shape == "mixed" else lines


def _as_text(value: Any, between: str = "\n") -> str:
    if isinstance(value, bool):
        return "true" if value else ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return between.join(str(one) for one in value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return "" if value is None else str(value)


def _seen(text: str) -> str:
    """Signs that nobody can see, as Python and TOML write them."""
    return text if text.isprintable() else ascii(text)
