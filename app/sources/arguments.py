"""Shows a job's arguments as far as its service's `show_arguments` allows.

Pure. Sources know arguments as text that Python wrote (`repr`) or as JSON; nothing is ever unpickled or evaluated. Text
is only split at its commas, so any text works.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from app.infra.redaction import HIDDEN, is_secret_name, redact, redact_text

ArgumentName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ShowArguments = Literal["none", "all"] | Annotated[tuple[ArgumentName, ...], Field(min_length=1, max_length=100)]
MAX_SHOWN_CHARS = 2_000
NOT_SHOWN = "…"
# More than is shown, because parts of it are hidden.
MAX_READ_CHARS = 10 * MAX_SHOWN_CHARS
_OPENING, _CLOSING, _QUOTES = "([{<", ")]}>", "'\""
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'?|"(?:\\.|[^"\\])*"?|[()\[\]{}<>,]|[^'"()\[\]{}<>,]+""", re.DOTALL)


def split_names(value: Any) -> Any:
    """Names may be written as one text, separated by commas or lines."""
    if not isinstance(value, str) or value in ("none", "all"):
        return value
    return [name.strip() for name in re.split(r"[,\n]", value) if name.strip()]


def show_call(call: str, show: ShowArguments) -> str:
    """Show what stands between the brackets of a call, such as `17, to='anna'`."""
    if show == "none":
        return NOT_SHOWN if call.strip() else ""
    return _join(_show_part(part, "=", show) for part in split_at_commas(call))


def show_reprs(args: str, kwargs: str, show: ShowArguments) -> str:
    """Show the texts of a tuple and of a dictionary, such as `(17,)` and `{'to': 'anna'}`."""
    parts = split_at_commas(_strip_brackets(args))
    named = split_at_commas(_strip_brackets(kwargs))
    if show == "none":
        return NOT_SHOWN if parts or named else ""
    return _join(
        [
            *(_show_part(part, "", show) for part in parts),
            *(_show_part(part, ":", show) for part in named),
        ]
    )


def show_values(args: Sequence[Any], kwargs: Mapping[str, Any], show: ShowArguments) -> str:
    """Show arguments that are JSON."""
    if show == "none":
        return NOT_SHOWN if args or kwargs else ""
    shown = [_dump(redact(value)) if show == "all" else NOT_SHOWN for value in args]
    for name, value in kwargs.items():
        if show == "all" or name in show:
            shown.append(f"{name}={HIDDEN if is_secret_name(name) else _dump(redact(value))}")
        else:
            shown.append(f"{name}={NOT_SHOWN}")
    return _join(shown)


def split_at_commas(text: str) -> list[str]:
    """Split at the commas that are in no quotes and no brackets. Unbalanced text is one part from there on."""
    parts, depth = [""], 0
    for piece in _TOKEN.findall(text[:MAX_READ_CHARS]):
        if piece == "," and depth == 0:
            parts.append("")
            continue
        depth = max(0, depth + (piece in _OPENING) - (piece in _CLOSING))
        parts[-1] += piece
    return [part for part in map(str.strip, parts) if part]


def _show_part(part: str, separator: str, show: ShowArguments) -> str:
    name, value = _split_name(part, separator)
    if not name:
        return redact_text(part) if show == "all" else NOT_SHOWN
    if show != "all" and name not in show:
        return f"{name}={NOT_SHOWN}"
    return f"{name}={HIDDEN if is_secret_name(name) else redact_text(value)}"


def _split_name(part: str, separator: str) -> tuple[str, str]:
    """The name of an argument and its value; no name if there is none."""
    if not separator:
        return "", part
    name, found, value = part.partition(separator)
    name = name.strip().strip(_QUOTES)
    return (name, value.strip()) if found and name.isidentifier() else ("", part)


def _strip_brackets(text: str) -> str:
    """Long texts may have been cut, so the closing bracket may be missing."""
    stripped = text.strip()
    if stripped[:1] in _OPENING and stripped:
        stripped = stripped[1:]
    return stripped[:-1] if stripped[-1:] and stripped[-1] in _CLOSING else stripped


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _join(parts: Iterable[str]) -> str:
    text = ", ".join(parts)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 1]}…"
