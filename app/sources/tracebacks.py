"""Extracts the exception from a Python traceback: its type, its message and the innermost frame of the team's own code.

Pure. Does not parse line by line: a traceback can be a megabyte long because of a recursion or a long message.
"""

import re
from typing import NamedTuple

MAX_CHARS = 2_000
# Separators between the exceptions of a chain. The last exception is the one that was not caught.
_LINKS = (
    "\n\nDuring handling of the above exception, another exception occurred:\n\n",
    "\n\nThe above exception was the direct cause of the following exception:\n\n",
)
_HEAD = "Traceback (most recent call last):\n"
# Frames, and the location that a SyntaxError shows, are indented. The exception is not.
_EXCEPTION = re.compile(r"^\S", re.MULTILINE)
# In an exception group every line is indented and starts with a bar.
_GROUP = re.compile(r"^  \| (\S.*)$", re.MULTILINE)
_TYPE = re.compile(r"([A-Za-z_][\w.]{0,199})(?:: |$)", re.ASCII)
# The innermost frames are the last ones; a recursion has thousands before them.
_FRAME_CHARS = 100_000
_FRAME = re.compile(r'^[ |]*File "([^"\n]{1,1000})", line (\d{1,9}), in (.{1,200})$', re.MULTILINE)
_LIBRARY = re.compile(r"^<|[/\\](?:site-packages|dist-packages|lib[/\\]python\d[\d.]*)[/\\]")
# How much of a path names a file: its package is in the last parts.
_PATH_PARTS = 3


class Frame(NamedTuple):
    """`place` is the file and the function, which stay the same when lines above them change.

    `line` is None if a service names the place in words of its own.
    """

    place: str
    line: int | None

    def __str__(self) -> str:
        if self.line is None:
            return self.place
        file, _, function = self.place.rpartition(" in ")
        return f"{file}:{self.line} in {function}"


class JobError(NamedTuple):
    """Why a job failed. `type` is empty if the text names none; `frame` is None without one in the team's own code."""

    type: str
    message: str
    frame: Frame | None = None

    def __str__(self) -> str:
        return ": ".join(part for part in (self.type, self.message) if part)


def parse_error(text: str) -> JobError | None:
    """Parse a traceback, or the description of an error that is none. None if the text says nothing."""
    said = extract_exception(text)
    if said is None:
        return None
    found = _TYPE.match(said.partition("\n")[0])
    if found is None:
        return JobError("", said, find_own_frame(text))
    return JobError(found[1], said[found.end() :].strip(), find_own_frame(text))


def extract_exception(text: str) -> str | None:
    """Return e.g. `ValueError: no such customer`, or the whole text if it is no traceback. At most `MAX_CHARS`."""
    start = _find_last(text)
    if start >= 0:
        found = _EXCEPTION.search(text, start + len(_HEAD))
        return _truncate(text[found.start() :]) if found else None
    if text.lstrip().startswith("+ Exception Group Traceback") and (group := _GROUP.search(text)):
        return _truncate(group[1])
    return _truncate(text)


def find_own_frame(text: str) -> Frame | None:
    """Return the innermost frame that is not in a library, of the exception that was not caught."""
    start = max(_find_last(text), 0)
    found = _EXCEPTION.search(text, start + len(_HEAD))
    end = found.start() if found else len(text)
    for path, line, function in reversed(_FRAME.findall(text, max(start, end - _FRAME_CHARS), end)):
        if not is_library(path):
            return Frame(f"{_shorten_path(path)} in {function}", int(line))
    return None


def is_library(path: str) -> bool:
    """True for the path of a file that is not the team's own code."""
    return _LIBRARY.search(path) is not None


def _find_last(text: str) -> int:
    """Where the last traceback of a chain begins; -1 if there is none."""
    last = max(text.rfind(link + _HEAD) for link in _LINKS)
    start = text.find(_HEAD, max(last, 0))
    return start if start == 0 or (start > 0 and text[start - 1] == "\n") else -1


def _shorten_path(path: str) -> str:
    return "/".join(re.split(r"[/\\]+", path)[-_PATH_PARTS:]).lstrip("/")


def _truncate(text: str) -> str | None:
    shown = text[: MAX_CHARS + 1].strip()
    return (shown if len(shown) <= MAX_CHARS else f"{shown[: MAX_CHARS - 1]}…") or None
