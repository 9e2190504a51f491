"""A job's arguments are shown as far as its service allows, and secrets never."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from app.infra import redaction
from app.sources import arguments
from app.sources.arguments import (
    MAX_READ_CHARS,
    MAX_SHOWN_CHARS,
    ShowArguments,
    show_call,
    show_reprs,
    show_values,
    split_at_commas,
)
from app.sources.palantir.api import JobAnswer
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


class Visits(list[Any]):
    """A list that counts how many of its items are looked at."""

    seen = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.seen += 1
            yield item


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the texts that were searched for secrets."""
    lengths, redact_text = list[int](), redaction.redact_text

    def measure(text: str) -> str:
        lengths.append(len(text))
        return redact_text(text)

    for module in (redaction, arguments):
        monkeypatch.setattr(module, "redact_text", measure)
    return lengths


PASSWORDS = ["password=" + "x" * 10_000] * 700


@pytest.mark.parametrize(
    "args",
    [
        ["://" * 700_000],
        ["a" * 7_000_000],
        PASSWORDS,
        ["x://a"] * 49_000,
        [PASSWORDS],
        [{"a": PASSWORDS}],
        [{"k" * 7_000_000: "v"}],
        [{f"password={number}" + "x" * 10_000: 1 for number in range(700)}],
    ],
)
def test_no_more_of_a_job_is_searched_than_can_be_shown(args: list[Any], read: list[int]) -> None:
    job = JobAnswer.model_validate({"id": "a", "state": "failed", "arguments": args})
    for shown in (
        job.to_detail("all").arguments,
        show_values([], {"a": args}, "all"),
        show_call(repr(args), "all"),
        show_reprs(repr(args), repr({"a": args}), "all"),
    ):
        assert len(shown or "") <= MAX_SHOWN_CHARS
    assert sum(read) <= 5 * MAX_READ_CHARS
    assert len(read) <= 5 * MAX_SHOWN_CHARS


@pytest.mark.parametrize("before", range(MAX_READ_CHARS - 40, MAX_READ_CHARS, 3))
def test_where_a_text_is_cut_no_other_argument_is_taken_for_the_one_that_is_shown(before: int) -> None:
    call = f"'{'x' * before}', to='anna', ssn='123'"
    assert "123" not in show_call(call, ("to",))
    assert "123" not in show_reprs("", call.replace("=", ": "), ("to",))


@pytest.mark.parametrize("show", ["all", ("to",)])
def test_what_cannot_be_shown_is_not_even_visited(show: ShowArguments) -> None:
    args, nested = Visits([1] * 49_000), Visits([1] * 49_000)
    show_values(args, {}, show)
    show_values([], {"to": {"a": nested}}, show)
    assert 0 < args.seen <= MAX_SHOWN_CHARS
    assert 0 < nested.seen <= MAX_SHOWN_CHARS


# Most of a text with long secrets is hidden, so that the place where it is cut is shown.
LONG_SECRETS = "a password=" + "x" * (MAX_READ_CHARS - 600) + " "


@pytest.mark.parametrize(
    "secret",
    [
        "https://u:hunter2" + "2" * 1_000 + "@h/",
        "https://u:hunter2://" + "2" * 1_000 + "@h/",
        'token="' + "hunter2 " * 20 + 'x"' + " y" * 500,
    ],
)
@pytest.mark.parametrize("before", [0, 200, 380, 450, 520, 560, 580])
def test_a_secret_is_not_shown_because_its_end_was_cut_off(secret: str, before: int) -> None:
    text = LONG_SECRETS + "z" * before + " " + secret
    for shown in (show_values([text], {}, "all"), show_call(text, "all"), show_reprs(text, "", "all")):
        assert "hunter" not in shown
        assert shown.rstrip('"').endswith("…")
