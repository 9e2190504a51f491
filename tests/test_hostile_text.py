"""No text from elsewhere makes a search in it take long: the time grows with its length, not with the square of it."""

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from app.failures.grouping import normalize
from app.infra.redaction import redact_text
from app.sources.arguments import split_at_commas
from app.sources.rq.job_facts import MAX_FIELD_BYTES, strip_arguments
from app.sources.tracebacks import find_own_frame, parse_error
from app.web.jobs.traceback_blocks import fold_traceback

Search = Callable[[str], object]
ROOT = Path(__file__).parent.parent
# What texts repeat to make a pattern begin, and begin again, a match that it does not end.
PARTS = [
    *("a", "1", " ", "\n", "\t", "/", ".", ",", ";", ":", "'", '"', "(", "<", "[", "|", "-", "_", "@", "?", "=", "\\"),
    *("a.", "a(", "a@", "a-", "a/", "a:", "1.", "1,", "'1", '"1', " \n", "://", "://a:", "a://", "key=", 'key="'),
    *("bcn_", "bcn_.", "bearer ", "authorization: ", "password=", "pass1", "0x0", "12345678-", "2026-11-21 "),
    *(
        '  File "',
        '  File "a", line 1, in ',
        "Traceback (most recent call last):\n",
        "  | a",
        "status",
        "role:",
        "user:",
    ),
    *(
        "/lib/python3",
        "name=",
        'name="csrf_token"',
        "password=&",
        "/*",
        "{ ",
        "bc",
        "data: ",
        "<a ",
        "-a:",
        "https://a",
    ),
]
ENDS = [("", "\0"), ("a(", ")"), ("'", "\0")]
SMALL, LARGE = 1_000, 8_000
# Eight times the text may take eight times as long, and not sixty-four times.
MAX_RATIO = 24
# Less is no square: that takes tens of millions of steps here.
FLOOR_S = 0.05
# Patterns that are only given Beacon's own text.
OWN_TEXT = {("app.web.js_bundle", "_CSS_COMMENT"), ("app.web.js_bundle", "_CSS_BLANKS")}


AT_BEGINNING = {"match", "fullmatch"}


def searches() -> Iterator[tuple[str, Search]]:
    """Every pattern that a module keeps and every one that stands where it is used, applied as it is there."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        text = path.read_text()
        if "import re\n" not in text:
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        calls = list(calls_of_patterns(ast.parse(text)))
        for member, pattern in kept(vars(importlib.import_module(name))):
            if (name, member) not in OWN_TEXT:
                methods = {method for owner, method, _ in calls if owner == member} or {"sub"}
                yield f"{name}.{member} {pattern.pattern}", apply(pattern, methods)
        for owner, method, first in calls:
            if owner == "re" and method != "compile" and isinstance(first, ast.Constant):
                yield f"{name} {first.value}", apply(re.compile(first.value), {method})


def calls_of_patterns(tree: ast.AST) -> Iterator[tuple[str, str, ast.expr]]:
    """The name, the method and the first argument of each call such as `_TOKEN.search(text)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            owner = node.func.value
            yield owner.id if isinstance(owner, ast.Name) else "", node.func.attr, node.args[0]


def kept(members: Mapping[str, object]) -> Iterator[tuple[str, re.Pattern[str]]]:
    for member, value in members.items():
        several = value if isinstance(value, tuple) else (value,)
        for each in (one[0] if isinstance(one, tuple) and one else one for one in several):
            if isinstance(each, re.Pattern):
                text = each.pattern.decode() if isinstance(each.pattern, bytes) else each.pattern
                yield member, re.compile(text, each.flags & ~re.UNICODE & ~re.ASCII)


def apply(pattern: re.Pattern[str], methods: set[str]) -> Search:
    if methods <= AT_BEGINNING:
        return pattern.fullmatch
    return lambda text: pattern.sub("", text)


FUNCTIONS: dict[str, Search] = {
    "normalize": normalize,
    "redact_text": redact_text,
    "split_at_commas": split_at_commas,
    "parse_error": parse_error,
    "find_own_frame": find_own_frame,
    "fold_traceback": fold_traceback,
    "strip_arguments": lambda text: strip_arguments(text[:MAX_FIELD_BYTES]),
}
SEARCHES = FUNCTIONS | dict(searches())


@pytest.mark.parametrize("name", SEARCHES)
def test_a_text_made_to_take_long_does_not(name: str) -> None:
    for part in PARTS:
        for ends in ENDS:
            assert is_linear(SEARCHES[name], part, ends), f"repeated: {part!r}, between: {ends}"


def is_linear(search: Search, part: str, ends: tuple[str, str]) -> bool:
    return cpu_s(search, part, LARGE, ends) < FLOOR_S or (
        # Others use this machine too: what was slow once is measured again.
        min(cpu_s(search, part, LARGE, ends) for _ in range(3))
        < max(FLOOR_S, MAX_RATIO * min(cpu_s(search, part, SMALL, ends) for _ in range(3)))
    )


def cpu_s(search: Search, part: str, chars: int, ends: tuple[str, str]) -> float:
    text = ends[0] + (part * (chars // len(part) + 1))[:chars] + ends[1]
    began = time.process_time()
    search(text)
    return time.process_time() - began
