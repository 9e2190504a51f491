"""Encodes Server-Sent Events (WHATWG HTML, section 9.2): pure functions from values to bytes."""

import json
import re
from typing import Any

# The standard's three line endings. `str.splitlines` splits at more of them, which clients do not.
_LINE_END = re.compile(r"\r\n|\r|\n")


def frame(data: str, *, event: str | None = None, id: int | None = None, retry_ms: int | None = None) -> bytes:  # noqa: A002 -- the field's name
    """Encode one frame. Each line of `data` gets its own field, so no content can forge another field or frame."""
    lines = []
    if retry_ms is not None:
        lines.append(f"retry: {retry_ms}")
    if id is not None:
        lines.append(f"id: {id}")
    if event is not None:
        lines.append(f"event: {event}")
    lines += [f"data: {line}" for line in _LINE_END.split(data)]
    return ("\n".join(lines) + "\n\n").encode()


def json_frame(data: Any, **fields: Any) -> bytes:
    """Encode a frame with `data` as compact JSON; `fields` are those of `frame`."""
    return frame(compact_json(data), **fields)


def compact_json(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)
