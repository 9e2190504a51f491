"""Query parameters of lists: dates, cursors, and what becomes of invalid ones."""

import pytest
from pydantic import ValidationError

from app.infra.list_query import MAX_LIMIT, RecordQuery, decode_cursor, encode_cursor, parse_leniently, parse_moment


def test_a_date_begins_its_day_and_as_an_end_includes_it() -> None:
    assert parse_moment("2026-11-21") == "2026-11-21T00:00:00.000Z"
    assert parse_moment("2026-11-21", 1) == "2026-11-22T00:00:00.000Z"


@pytest.mark.parametrize("text", ["2026-11-21T12:00:00+02:00", "2026-11-21T12:00:00 02:00", "2026-11-21T10:00Z"])
def test_a_time_is_in_utc_also_if_its_plus_sign_was_not_escaped(text: str) -> None:
    assert parse_moment(text, 1) == "2026-11-21T10:00:00.000Z"


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-02-30", "9999-12-31T23:00:00-23:00"])
def test_what_is_no_date_says_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected a date or a time, like 2026-11-21"):
        parse_moment(text)


def test_an_end_after_the_last_day_of_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a date"):
        parse_moment("9999-12-31", 1)


@pytest.mark.parametrize("place", [[False, 5], [0, ["é", "\0"], None], []])
def test_a_cursor_comes_back_as_it_was(place: list[object]) -> None:
    text = encode_cursor(place)
    assert decode_cursor(text) == place
    assert text.isascii()
    assert "=" not in text


@pytest.mark.parametrize("text", ["nonsense", "é", "W", "W10x", "W1tb" * 40_000])
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- the parser's own words
        decode_cursor(text)


def test_valid_parameters_count_beside_invalid_ones() -> None:
    query, wrong = parse_leniently(RecordQuery, {"page": "2", "limit": "many", "startDate": "then", "unknown": "x"})
    assert (query.page, query.limit, query.start, query.is_descending) == (2, 50, None, True)
    assert set(wrong) == {"limit", "startDate"}
    assert wrong["startDate"].startswith("expected a date")


def test_a_page_has_its_limits_and_knows_how_many_there_are() -> None:
    with pytest.raises(ValidationError):
        RecordQuery.model_validate({"limit": MAX_LIMIT + 1})
    meta = RecordQuery.model_validate({"page": 3, "limit": 10}).page_meta(21)
    assert meta == {"page": 3, "limit": 10, "total": 21, "totalPages": 3}
