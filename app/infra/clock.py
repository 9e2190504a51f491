"""Time as Beacon writes it: UTC, ISO 8601 with milliseconds and `Z`."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def utc_text(moment: datetime | None = None) -> str:
    """`2026-11-21T12:03:05.123Z`; every timestamp in the database and on the wire has this shape, so text sorts."""
    moment = (moment or utc_now()).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_utc(moment: datetime) -> datetime:
    """The same moment in UTC. Raises `ValueError` for one that has no UTC, at either end of the calendar."""
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("expected a time between the years 1 and 9999 in UTC") from error


# What others send as a time with a zone.
Moment = Annotated[AwareDatetime, AfterValidator(in_utc)]


def parse_utc(text: str) -> datetime:
    """The moment that a text names; one without a zone is UTC. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return in_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
