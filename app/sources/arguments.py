"""Shows a job's arguments as far as its service's `show_arguments` allows.

Pure. Sources know arguments as text that Python wrote (`repr`) or as JSON; nothing is ever unpickled or evaluated. Text
is only split at its commas, so any text works.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from app.infra.redaction import HIDDEN, MAX_DEPTH, is_secret, redact_beginning, redact_text

MAX_NAME_CHARS = 200
ArgumentName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS)]
ShowArguments = Literal["none", "all"] | Annotated[tuple[ArgumentName, ...], Field(min_length=1, max_length=100)]
Pieces = Iterable[str]
MAX_SHOWN_CHARS = 2_000
NOT_SHOWN = "…"
# How much of foreign text is looked at: more than is shown, because parts of it are hidden.
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
    return _write(_separate(_show_parts(call, "=", show, _Reader())))


def show_reprs(args: str, kwargs: str, show: ShowArguments) -> str:
    """Show the texts of a tuple and of a dictionary, such as `(17,)` and `{'to': 'anna'}`."""
    args, kwargs = _strip_brackets(args), _strip_brackets(kwargs)
    if show == "none":
        return NOT_SHOWN if split_at_commas(args) or split_at_commas(kwargs) else ""
    reader = _Reader()
    return _write(_separate(chain(_show_parts(args, "", show, reader), _show_parts(kwargs, ":", show, reader))))


def show_values(args: Sequence[Any], kwargs: Mapping[str, Any], show: ShowArguments) -> str:
    """Show arguments that are JSON."""
    if show == "none":
        return NOT_SHOWN if args or kwargs else ""
    return _write(_separate(_show_each(args, kwargs, show, _Reader())))


def split_at_commas(text: str) -> list[str]:
    """Split at the commas that are in no quotes and no brackets. Unbalanced text is one part from there on.

    Of a longer text, only the first `MAX_READ_CHARS` are split.
    """
    parts, start, depth = list[str](), 0, 0
    for found in _TOKEN.finditer(text, 0, MAX_READ_CHARS):
        piece = found[0]
        if piece == "," and depth == 0:
            parts.append(text[start : found.start()])
            start = found.end()
        elif len(piece) == 1:
            depth = max(0, depth + (piece in _OPENING) - (piece in _CLOSING))
    parts.append(text[start:MAX_READ_CHARS])
    return [part for part in map(str.strip, parts) if part]


class _Reader:
    """Takes the secrets out of texts until `MAX_READ_CHARS` are read, so that the work is limited for any input."""

    def __init__(self) -> None:
        self._unread = MAX_READ_CHARS

    def read(self, text: str, *, is_cut: bool = False) -> str:
        """`is_cut`: the end of the text is missing already."""
        taken = text[: self._unread]
        self._unread -= len(taken)
        if is_cut or len(taken) < len(text):
            return redact_beginning(taken) + NOT_SHOWN
        return redact_text(taken)

    def hides(self, name: str, value: Any = HIDDEN) -> bool:
        """True if the value with this name is not shown. A name that is too long to be read may be a secret's."""
        return len(name) > self._unread or is_secret(name, value)


def _show_each(
    args: Sequence[Any], kwargs: Mapping[str, Any], show: ShowArguments, reader: _Reader
) -> Iterator[Pieces]:
    for value in args:
        yield _iterate_json(value, reader) if show == "all" else (NOT_SHOWN,)
    for name, value in kwargs.items():
        if show != "all" and name not in show:
            yield _cut_name(name), "=", NOT_SHOWN
        elif reader.hides(name):
            yield _cut_name(name), "=", HIDDEN
        else:
            yield chain((_cut_name(name), "="), _iterate_json(value, reader))


def _iterate_json(value: Any, reader: _Reader, depth: int = 0) -> Iterator[str]:
    """The pieces of JSON, made one after the other: most of a large value is never looked at."""
    if depth > MAX_DEPTH:
        yield _dump(HIDDEN)
    elif isinstance(value, Mapping):
        yield "{"
        yield from _separate(_iterate_member(str(key), one, reader, depth + 1) for key, one in value.items())
        yield "}"
    elif isinstance(value, list | tuple):
        yield "["
        yield from _separate(_iterate_json(one, reader, depth + 1) for one in value)
        yield "]"
    else:
        yield _dump(reader.read(value) if isinstance(value, str) else value)


def _iterate_member(key: str, value: Any, reader: _Reader, depth: int) -> Iterator[str]:
    is_hidden = reader.hides(key, value)
    yield f"{_dump(reader.read(key))}: "
    yield from (_dump(HIDDEN),) if is_hidden else _iterate_json(value, reader, depth)


def _show_parts(text: str, separator: str, show: ShowArguments, reader: _Reader) -> Iterator[Pieces]:
    parts = split_at_commas(text)
    for place, part in enumerate(parts, 1):
        is_cut = place == len(parts) and len(text) > MAX_READ_CHARS
        yield _show_part(part, separator, show, reader, is_cut=is_cut)


def _show_part(part: str, separator: str, show: ShowArguments, reader: _Reader, *, is_cut: bool) -> Pieces:
    name, value = _split_name(part, separator)
    if not name:
        return (reader.read(part, is_cut=is_cut) if show == "all" else NOT_SHOWN,)
    if show != "all" and name not in show:
        return _cut_name(name), "=", NOT_SHOWN
    return _cut_name(name), "=", HIDDEN if reader.hides(name) else reader.read(value, is_cut=is_cut)


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


def _cut_name(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARS else f"{name[:MAX_NAME_CHARS]}…"


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _separate(parts: Iterable[Pieces]) -> Iterator[str]:
    for place, pieces in enumerate(parts):
        if place:
            yield ", "
        yield from pieces


def _write(pieces: Iterable[str]) -> str:
    """Join the pieces until no more can be shown; the rest is never made."""
    written, chars = list[str](), 0
    for piece in pieces:
        written.append(piece)
        chars += len(piece)
        if chars > MAX_SHOWN_CHARS:
            return f"{''.join(written)[: MAX_SHOWN_CHARS - 1]}…"
    return "".join(written)
