"""The service's clock: the machine's, except while a rewind pretends that it stands in the past."""

from datetime import UTC, datetime, timedelta


class Clock:
    """Tells the service's time. Every time that the API shows comes from here."""

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._offset

    def set(self, reading: datetime) -> None:
        """Go on from `reading`, as the clock of a machine restored from a snapshot does."""
        self._offset = reading - datetime.now(UTC)

    def put_right(self) -> None:
        self._offset = timedelta(0)


def iso(moment: datetime) -> str:
    """UTC with milliseconds and Z: all the same length, so texts sort as the times do."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
