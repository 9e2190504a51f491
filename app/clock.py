"""Time as Beacon writes it: UTC, ISO 8601 with milliseconds and `Z`."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    return datetime.now(UTC)


def utc_text(moment: datetime | None = None) -> str:
    """`2026-11-21T12:03:05.123Z`; every timestamp in the database and on the wire has this shape, so text sorts."""
    moment = (moment or utc_now()).astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_utc(text: str) -> datetime:
    """The moment that a text names; one without a zone is UTC. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
