"""When a plan may raise: from a given time on, and not in quiet hours. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class InvalidSchedule(ValueError):
    """The text is no time or time zone; it says what was expected."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Every day from `begin` until before `end`, also over midnight, by the clock of `zone`."""

    begin: time
    end: time
    zone: str = "UTC"

    @classmethod
    def parse(cls, begin: str, end: str, zone: str = "UTC") -> Self:
        """Raises `InvalidSchedule`."""
        try:
            first, last = (time.fromisoformat(text) for text in (begin, end))
        except ValueError:
            raise InvalidSchedule("quiet hours are times like 22:00") from None
        if first == last:
            raise InvalidSchedule("quiet hours begin and end at different times")
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InvalidSchedule(f"{zone} is not a known time zone, such as Europe/Berlin") from None
        return cls(first.replace(tzinfo=None), last.replace(tzinfo=None), zone)

    def contains(self, at: float) -> bool:
        now = self._local(at).time()
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end

    def find_end(self, at: float) -> float:
        """When the quiet hours that contain `at` are over."""
        local = self._local(at)
        end = local.replace(hour=self.end.hour, minute=self.end.minute, second=self.end.second, microsecond=0)
        if end <= local:
            end = (local + timedelta(days=1)).replace(
                hour=self.end.hour, minute=self.end.minute, second=0, microsecond=0
            )
        return end.timestamp()

    def as_json(self) -> dict[str, Any]:
        return {"from": f"{self.begin:%H:%M}", "to": f"{self.end:%H:%M}", "zone": self.zone}

    def __str__(self) -> str:
        return f"{self.begin:%H:%M} to {self.end:%H:%M} {self.zone}"

    def _local(self, at: float) -> datetime:
        return datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(self.zone))
