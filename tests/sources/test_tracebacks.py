"""The exception that a traceback ends with, as Python itself writes them: with its type, and with all of its lines."""

import traceback
from collections.abc import Callable

import pytest

from app.sources.tracebacks import MAX_CHARS, extract_exception


def raised(code: Callable[[], object]) -> str:
    try:
        code()
    except Exception as error:  # noqa: BLE001 -- whatever it is, its traceback is wanted
        return "".join(traceback.format_exception(error))
    raise AssertionError("nothing was raised")


def fail(message: str = "no such customer", times: int = 0) -> None:
    if times:
        fail(message, times - 1)
    raise ValueError(message)


def chained() -> None:
    try:
        fail("the first")
    except ValueError as error:
        raise KeyError("second\nline") from error


def handled() -> None:
    try:
        fail("the first")
    except ValueError:
        raise OSError("while handling\n\nThe above") from None


def grouped() -> None:
    raise ExceptionGroup("two at once", [ValueError("a"), KeyError("b")])


def noted() -> None:
    error = ValueError("no such customer")
    error.add_note("asked for by anna")
    raise error


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (fail, "ValueError: no such customer"),
        (lambda: fail("first\nsecond\n\n  third"), "ValueError: first\nsecond\n\n  third"),
        (lambda: fail("x", 300), "ValueError: x"),
        (lambda: fail(""), "ValueError"),
        (chained, "KeyError: 'second\\nline'"),
        (handled, "OSError: while handling\n\nThe above"),
        (grouped, "ExceptionGroup: two at once (2 sub-exceptions)"),
        (noted, "ValueError: no such customer\nasked for by anna"),
        (lambda: fail("Traceback (most recent call last):\n  File\nKeyError: inner"), None),
        (lambda: compile("x y", "f", "exec"), "SyntaxError: invalid syntax"),
    ],
)
def test_type_and_message_are_those_of_the_exception(code: Callable[[], object], said: str | None) -> None:
    if said is None:  # a message that quotes another traceback
        said = "ValueError: Traceback (most recent call last):\n  File\nKeyError: inner"
    assert extract_exception(raised(code)) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", None),
        ("\n" * 900_000, None),
        (
            "Work-horse terminated unexpectedly; waitpid returned 9",
            "Work-horse terminated unexpectedly; waitpid returned 9",
        ),
        ("Traceback (most recent call last):\n  File", None),
        ("a" * 5_000, "a" * (MAX_CHARS - 1) + "…"),
    ],
    ids=["nothing", "lines", "no traceback", "cut", "long"],
)
def test_whatever_else_stands_there_is_said_as_it_is_and_no_longer(text: str, said: str | None) -> None:
    assert extract_exception(text) == said
