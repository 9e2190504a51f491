"""Times that others send: a moment in UTC, or a plain refusal, however odd the text."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from app.infra.clock import Moment, parse_utc, utc_text

NO_UTC = ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"]


@pytest.mark.parametrize("text", ["2026-11-21T13:00:00+01:00", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00"])
def test_a_time_is_read_as_its_moment_in_utc(text: str) -> None:
    assert parse_utc(text) == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert utc_text(parse_utc(text)) == "2026-11-21T12:00:00.000Z"


@pytest.mark.parametrize("text", NO_UTC)
def test_a_time_that_has_no_utc_is_refused_like_any_other_bad_value(text: str) -> None:
    with pytest.raises(ValueError, match="between the years 1 and 9999"):
        parse_utc(text)
    with pytest.raises(ValidationError, match="between the years 1 and 9999"):
        TypeAdapter(Moment).validate_python(text)
    with pytest.raises(ValidationError):
        TypeAdapter(Moment).validate_json(f'"{text}"')
