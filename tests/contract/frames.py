"""From bytes to frames by the standard (WHATWG HTML, section 9.2.6), and stricter: what a browser ignores raises."""

import json
import re
from dataclasses import dataclass
from typing import Any

_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELDS = ("retry", "id", "event", "data")


class NotAFrame(AssertionError):
    """Bytes that no client could make sense of, or would ignore without a word."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its fields in order, and its very bytes with the empty line that ends it."""

    fields: tuple[tuple[str, str], ...]
    raw: bytes

    @property
    def event(self) -> str:
        return self._last("event") or "message"

    @property
    def id(self) -> int | None:
        text = self._last("id")
        return None if text is None else int(text)

    @property
    def retry(self) -> int | None:
        text = self._last("retry")
        return None if text is None else int(text)

    @property
    def data(self) -> str:
        return "\n".join(value for name, value in self.fields if name == "data")

    @property
    def names(self) -> list[str]:
        """Which fields there are, in their order."""
        return [name for name, _ in self.fields]

    def json(self) -> Any:
        return json.loads(self.data, parse_constant=_refuse)

    def _last(self, wanted: str) -> str | None:
        values = [value for name, value in self.fields if name == wanted]
        if len(values) > 1:
            raise NotAFrame(f"{wanted} twice in {self.raw!r}")
        return values[0] if values else None


class Parser:
    """Fed with bytes in any split."""

    def __init__(self) -> None:
        self._waiting = b""
        self._raw = b""
        self._fields: list[tuple[str, str]] = []
        self._began = False

    def feed(self, data: bytes) -> list[Frame]:
        self._waiting += data
        if not self._began and self._waiting:
            self._began = True
            if self._waiting.startswith(b"\xef"):
                raise NotAFrame("a byte order mark")
        frames = []
        while (line := self._line()) is not None:
            if line:
                self._fields.append(_field(line))
            elif self._fields:
                frames.append(self._frame())
        return frames

    @property
    def is_between_frames(self) -> bool:
        return not self._waiting and not self._fields

    def _line(self) -> bytes | None:
        found = _LINE_END.search(self._waiting)
        # A CR at the very end may be the first half of CR LF.
        if found is None or (found[0] == b"\r" and found.end() == len(self._waiting)):
            return None
        line = self._waiting[: found.start()]
        self._raw += self._waiting[: found.end()]
        self._waiting = self._waiting[found.end() :]
        return line

    def _frame(self) -> Frame:
        frame = Frame(tuple(self._fields), self._raw)
        self._fields, self._raw = [], b""
        if "data" not in frame.names:
            raise NotAFrame(f"a frame without data is never dispatched: {frame.raw!r}")
        return frame


def parse(body: bytes) -> list[Frame]:
    """The frames of a finite body, which must end with a whole one."""
    parser = Parser()
    frames = parser.feed(body)
    if not parser.is_between_frames:
        raise NotAFrame(f"the body ends inside a frame: {body[-200:]!r}")
    return frames


def _field(line: bytes) -> tuple[str, str]:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise NotAFrame(f"not UTF-8: {line!r}") from error
    name, colon, value = text.partition(":")
    if name not in _FIELDS or not colon:
        raise NotAFrame(f"no field of a frame: {text[:200]!r}")
    value = value.removeprefix(" ")
    if name in ("retry", "id") and not (value.isascii() and value.isdecimal()):
        raise NotAFrame(f"{name} is {value!r}")
    return name, value


def _refuse(name: str) -> None:
    raise NotAFrame(f"{name} is not JSON")
