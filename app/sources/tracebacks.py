"""What a traceback of Python ends with: the exception, its type and its message, however many lines that has. Pure.

Nothing is parsed line by line: a traceback may be a megabyte of a recursion, or of somebody's message.
"""

import re

MAX_CHARS = 2_000
# Between the exceptions of a chain, the last of which is the one that was not caught.
_LINKS = (
    "\n\nDuring handling of the above exception, another exception occurred:\n\n",
    "\n\nThe above exception was the direct cause of the following exception:\n\n",
)
_HEAD = "Traceback (most recent call last):\n"
# Frames, and the place that a SyntaxError is about, are indented; the exception is not.
_EXCEPTION = re.compile(r"^\S", re.MULTILINE)
# Of an exception group everything is, behind a bar.
_GROUP = re.compile(r"^  \| (\S.*)$", re.MULTILINE)


def extract_exception(text: str) -> str | None:
    """`ValueError: no such customer`; all of a text that is no traceback. At most `MAX_CHARS`."""
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
