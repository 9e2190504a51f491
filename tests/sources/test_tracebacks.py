"""The exception that a traceback ends with, as Python itself writes them: with its type, and with all of its lines."""

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from app.sources.tracebacks import MAX_CHARS, Frame, JobError, extract_exception, find_own_frame, parse_error


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


OWN, LIBRARY = "/srv/app/shop/mail/transport.py", "/srv/venv/lib/python3.11/site-packages/smtp/client.py"


def raised_in(*files: str, ends: str = "raise ConnectionError('lost')") -> str:
    """A traceback through functions `f0`, `f1`, ... of these files alone; the last one raises."""
    names: dict[str, Any] = {}
    for place, file in enumerate(files):
        body = ends if place == len(files) - 1 else f"f{place + 1}()"
        exec(compile(f"\n\ndef f{place}():\n    {body}\n", file, "exec"), names)  # noqa: S102 -- code of this test
    try:
        names["f0"]()
    except Exception as error:  # noqa: BLE001 -- whatever it is, its traceback is wanted
        return "".join(traceback.format_exception(type(error), error, error.__traceback__.tb_next))
    raise AssertionError("nothing was raised")


def test_an_error_has_its_type_its_message_and_the_innermost_frame_of_the_teams_own_code() -> None:
    error = parse_error(raised_in("/srv/app/shop/mail/tasks.py", OWN, LIBRARY, "/usr/lib/python3.11/socket.py"))
    assert error == JobError("ConnectionError", "lost", Frame("shop/mail/transport.py in f1", 4))
    assert str(error.frame) == "shop/mail/transport.py:4 in f1"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("shop.errors.Refused: card\nof anna", JobError("shop.errors.Refused", "card\nof anna")),
        ("KeyError", JobError("KeyError", "")),
        ("Work-horse terminated unexpectedly; signal 9", JobError("", "Work-horse terminated unexpectedly; signal 9")),
        ("time-out: after 30 s", JobError("", "time-out: after 30 s")),
        ("<script>: no", JobError("", "<script>: no")),
        (" \n", None),
    ],
)
def test_what_is_no_traceback_has_a_type_only_if_it_begins_with_one(text: str, error: JobError | None) -> None:
    assert parse_error(text) == error


@pytest.mark.parametrize(
    "file", [LIBRARY, "<frozen importlib._bootstrap>", "/usr/lib/python3/dist-packages/x.py", "<string>"]
)
def test_frames_of_libraries_are_not_the_teams_own(file: str) -> None:
    assert find_own_frame(raised_in(file)) is None


def test_the_frame_is_that_of_the_exception_that_was_not_caught() -> None:
    inner = raised_in("/srv/app/first.py")
    outer = raised_in("/srv/app/second.py")
    text = f"{inner}\nDuring handling of the above exception, another exception occurred:\n\n{outer}"
    assert find_own_frame(text) == Frame("srv/app/second.py in f0", 4)


def test_a_message_that_looks_like_a_frame_is_none() -> None:
    text = raised_in(OWN, ends="raise ValueError('x\\\\n  File \"/srv/app/other.py\", line 9, in g')")
    assert find_own_frame(text) == Frame("shop/mail/transport.py in f0", 4)


def test_the_frame_of_an_endless_recursion_is_found() -> None:
    error = parse_error(raised(lambda: fail("x", 900)))
    assert error is not None
    assert error.frame is not None
    assert error.frame.place.endswith("tests/sources/test_tracebacks.py in fail")
