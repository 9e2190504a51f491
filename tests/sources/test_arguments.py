"""A job's arguments are shown as far as its service allows, and secrets never."""

import pytest
from pydantic import ValidationError

from app.sources.arguments import (
    MAX_SHOWN_CHARS,
    ShowArguments,
    show_call,
    show_reprs,
    show_values,
    split_at_commas,
)
from app.sources.protocol import JobOptions


@pytest.mark.parametrize(
    ("show", "said"),
    [
        ("none", "…"),
        ("all", "17, [1, 2], to='anna, bert', password=(hidden), url='https://u:(hidden)@h/'"),
        (("to",), "…, …, to='anna, bert', password=…, url=…"),
        (("password",), "…, …, to=…, password=(hidden), url=…"),
    ],
)
def test_a_call_shows_the_names_that_are_allowed(show: ShowArguments, said: str) -> None:
    assert show_call("17, [1, 2], to='anna, bert', password='x', url='https://u:p@h/'", show) == said


@pytest.mark.parametrize(
    ("show", "said"),
    [
        ("none", "…"),
        ("all", "17, 'a:b', to='anna', apiKey=(hidden)"),
        (("to",), "…, …, to='anna', apiKey=…"),
    ],
)
def test_texts_of_a_tuple_and_a_dictionary_are_the_same(show: ShowArguments, said: str) -> None:
    assert show_reprs("(17, 'a:b')", "{'to': 'anna', 'apiKey': 'x'}", show) == said


@pytest.mark.parametrize(
    ("show", "said"),
    [
        ("none", "…"),
        ("all", '17, {"token": "(hidden)"}, to="anna", secret=(hidden)'),
        (("to",), '…, …, to="anna", secret=…'),
    ],
)
def test_json_is_the_same_and_secrets_inside_it_are_hidden(show: ShowArguments, said: str) -> None:
    assert show_values([17, {"token": "t"}], {"to": "anna", "secret": {"a": 1}}, show) == said


@pytest.mark.parametrize("show", ["none", "all", ("to",)])
def test_a_job_without_arguments_shows_none(show: ShowArguments) -> None:
    assert (show_call("", show), show_reprs("()", "{}", show), show_values([], {}, show)) == ("", "", "")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a, b", ["a", "b"]),
        ("(a, b), c", ["(a, b)", "c"]),
        (r"'it\'s, so', b", [r"'it\'s, so'", "b"]),
        ("<Order 7, of anna>, b", ["<Order 7, of anna>", "b"]),
        ("'cut off, in the mid", ["'cut off, in the mid"]),
        ("a,, b,", ["a", "b"]),
        (")), b", ["))", "b"]),
        ("", []),
    ],
)
def test_text_is_split_at_its_own_commas(text: str, parts: list[str]) -> None:
    assert split_at_commas(text) == parts


def test_texts_that_were_cut_off_are_shown_as_far_as_they_go() -> None:
    assert show_reprs("('a', 'bcd...", "{'to': 'an...", "all") == "'a', 'bcd..., to='an..."


@pytest.mark.parametrize(
    ("written", "show"),
    [
        ("none", "none"),
        ("all", "all"),
        ("to, order", ("to", "order")),
        ("to\norder\n", ("to", "order")),
        (["to"], ("to",)),
    ],
)
def test_names_may_be_written_as_a_list_or_as_text(written: object, show: ShowArguments) -> None:
    assert JobOptions(show_arguments=written).show_arguments == show


@pytest.mark.parametrize("written", ["", ",", [], 7, [""], None])
def test_anything_else_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        JobOptions(show_arguments=written)


def test_megabytes_are_cut() -> None:
    assert len(show_call("'" + "x" * 1_000_000 + "'", "all")) == MAX_SHOWN_CHARS
