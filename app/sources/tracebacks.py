"""Extracts the exception from the end of a Python traceback: its type and its whole message. Pure.

Does not parse line by line: a traceback can be a megabyte long because of a recursion or a long message.
"""

import re

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


def extract_exception(text: str) -> str | None:
    """Return e.g. `ValueError: no such customer`, or the whole text if it is no traceback. At most `MAX_CHARS`."""
    last = max(text.rfind(link + _HEAD) for link in _LINKS)
    start = text.find(_HEAD, max(last, 0))
    if start >= 0 and (start == 0 or text[start - 1] == "\n"):
        found = _EXCEPTION.search(text, start + len(_HEAD))
        return _truncate(text[found.start() :]) if found else None
    if text.lstrip().startswith("+ Exception Group Traceback") and (group := _GROUP.search(text)):
        return _truncate(group[1])
    return _truncate(text)


def _truncate(text: str) -> str | None:
    shown = text[: MAX_CHARS + 1].strip()
    return (shown if len(shown) <= MAX_CHARS else f"{shown[: MAX_CHARS - 1]}…") or None
