"""Failures with the same cause are one group, whatever their numbers, ids and values are; others are not."""

import pytest

from app.failures.grouping import MAX_NORMALIZED_CHARS, describe_cause, find_group, normalize
from app.sources.tracebacks import Frame, JobError

SEND = Frame("shop/mail/transport.py in deliver", 88)


def group(message: str = "", kind: str = "ValueError", frame: Frame | None = None, function: str = "mail.send") -> str:
    return find_group("mail", function, JobError(kind, message, frame)).id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 17 is unknown", "order 4711 is unknown"),
        ("took 1.5 s", "took 30,000.25 s"),
        ("no row 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "no row 9e107d9d-372b-4d1a-8f3c-0a1b2c3d4e5f"),
        ("digest 9e107d9d372bb6826bd81d3542a419d6", "digest e4d909c290d0fb1ca068ffaddf22cbd0"),
        ("<Order at 0x7f3a91>", "<Order at 0x7ffd02>"),
        ("cannot reach https://a.example/x?y=1", "cannot reach http://b.example:80/z"),
        ("no mailbox anna@a.example", "no mailbox bert.b+x@b.example"),
        ("due at 2026-11-21T12:03:05.123Z", "due at 2026-11-30 09:00:00+01:00"),
        ("invalid value 'order 17'", "invalid value 'a b c'"),
        ("first\n  second", "first second"),
    ],
)
def test_what_differs_from_job_to_job_does_not_part_them(one: str, other: str) -> None:
    assert group(one) == group(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (group("'customer_id'", "KeyError"), group("'order_id'", "KeyError")),
        (group("timed out"), group("refused")),
        (group(kind="ValueError"), group(kind="TypeError")),
        (group(function="mail.send"), group(function="mail.bounce")),
        (find_group("a", None, None).id, find_group("b", None, None).id),
        (find_group("a", "bc", None).id, find_group("ab", "c", None).id),
    ],
)
def test_another_function_type_or_message_is_another_cause(one: str, other: str) -> None:
    assert one != other


def test_the_same_place_in_the_code_is_the_same_cause_whatever_the_message_and_the_line() -> None:
    assert group("refused", frame=SEND) == group("timed out", frame=SEND._replace(line=91))
    assert group("refused", frame=SEND) != group("refused", frame=Frame("shop/mail/transport.py in connect", 88))


def test_a_group_has_the_same_id_in_every_process() -> None:
    assert group("refused") == "a6fb2eea80939b016335"


@pytest.mark.parametrize("part", ["a", "1", "'", "a@", "http://", "0-", "\ud800", "\0"])
def test_any_text_has_a_short_form(part: str) -> None:
    assert len(normalize(part * 100_000)) <= MAX_NORMALIZED_CHARS
    assert group(part * 100_000) == group(part * 100_000)


def test_a_title_is_one_line_without_marks_that_turn_its_direction() -> None:
    assert describe_cause("mail.send\u202e", "E\n a\0") == "E a\ufffd in mail.send\ufffd"
    assert describe_cause("mail.send", "shop.Lost") == "Lost in mail.send"


def test_lone_surrogates_are_kept_apart() -> None:
    assert group("\ud800") != group("\udfff")
