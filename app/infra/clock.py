"""Formats and parses times as Beacon writes them: UTC, ISO 8601 with milliseconds and `Z`."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def utc_text(moment: datetime | None = None) -> str:
    """Format as `2026-11-21T12:03:05.123Z`. All timestamps in the database and on the wire do, so they sort as text."""
    moment = (moment or utc_now()).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def display_text(moment: datetime) -> str:
    """Format as `2026-11-21 12:03:05 UTC`, for people."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def display_minute(at: str) -> str:
    """Format a time of the API as `2026-11-21 12:03 UTC`, for people."""
    return f"{at[:16].replace('T', ' ')} UTC"


def in_utc(moment: datetime) -> datetime:
    """Convert to UTC. Raises `ValueError` if the result lies outside the calendar (years 1 to 9999)."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from error


# A time with a zone, as clients send it.
Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]


def parse_utc(text: str) -> datetime:
    """Parse an ISO 8601 time; without a zone it is UTC. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return in_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
