"""Folds a traceback to the team's own frames: runs of library frames become blocks that open on request. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from app.sources.tracebacks import is_library

_FRAME = re.compile(r'^[ |]*File "([^"\n]*)", line \d+', re.MULTILINE)
# What follows a frame without being part of it: the exception, or the separator of a chain.
_UNINDENTED = re.compile(r"^\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TracebackBlock:
    """`frames`: how many library frames the block folds; 0 for text that is shown at once."""

    text: str
    frames: int = 0


def fold_traceback(text: str) -> list[TracebackBlock]:
    return [_join(list(run), is_folded) for is_folded, run in groupby(_split(text), itemgetter(1))]


def _join(run: list[tuple[str, bool]], is_folded: bool) -> TracebackBlock:
    return TracebackBlock("".join(part for part, _ in run), len(run) if is_folded else 0)


def _split(text: str) -> Iterator[tuple[str, bool]]:
    """Each frame with the source lines below it, and what stands between frames."""
    at, frames = 0, list(_FRAME.finditer(text))
    ends = [*(frame.start() for frame in frames[1:]), len(text)]
    for frame, limit in zip(frames, ends, strict=False):
        if frame.start() > at:
            yield text[at : frame.start()], False
        behind = _UNINDENTED.search(text, frame.end(), limit)
        at = behind.start() if behind else limit
        yield text[frame.start() : at], is_library(frame[1])
    if at < len(text):
        yield text[at:], False
