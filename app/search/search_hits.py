"""What a search finds: one value for everything, whatever it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["job", "failure", "service", "queue", "worker", "command", "person"]
MAX_HITS_PER_KIND = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """`state` is the word of whoever knows it: of the service, of Beacon, of a command. `at` is its time, if known."""

    kind: Kind
    id: str
    state: str
    service_id: str = ""
    at: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class HitList:
    """The hits of a search, each once, at most `MAX_HITS_PER_KIND` of a kind; `more` are the kinds that have more."""

    def __init__(self) -> None:
        self._hits: dict[tuple[Kind, str, str], Hit] = {}
        self.more: set[Kind] = set()

    def add(self, *hits: Hit) -> None:
        """Those that were found first stay: they are the better match, or know more."""
        for hit in hits:
            key = (hit.kind, hit.service_id, hit.id)
            if key not in self._hits and self.count(hit.kind) >= MAX_HITS_PER_KIND:
                self.more.add(hit.kind)
            else:
                self._hits.setdefault(key, hit)

    def count(self, kind: Kind) -> int:
        return len(self.of_kind(kind))

    def of_kind(self, kind: Kind) -> list[Hit]:
        return [hit for hit in self._hits.values() if hit.kind == kind]

    def is_known_job(self, job_id: str) -> bool:
        return any(hit.id == job_id for hit in self.of_kind("job"))

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._hits.values())

    def __len__(self) -> int:
        return len(self._hits)
