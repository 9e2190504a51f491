"""The kinds of source that can be configured: Beacon's own, and those from other packages.

Another package adds a kind with an entry point in the group `beacon.sources` that points to a `Kind` (docs/sources.md).
"""

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points

from app.sources.protocol import Kind

log = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "beacon.sources"
# Each is a package here, whose `KIND` is imported on first use: some need libraries that are slow to import, and most
# deployments use one kind. The first is the kind of a service that names none.
OWN_KINDS = (
    "palantir",
    "rq",
    "celery",
)
DEFAULT_KIND = OWN_KINDS[0]


class UnknownKind(ValueError):
    """No kind of this name is installed. The text lists those that are."""


class UnloadableKind(UnknownKind):
    """The kind is installed but cannot be loaded. The text says why."""


def list_kinds() -> list[str]:
    """Return the names of all kinds, Beacon's own first."""
    return [*OWN_KINDS, *sorted(set(_load_plugins().kinds) - set(OWN_KINDS))]


def list_broken_kinds() -> Mapping[str, str]:
    """Return the kinds that are installed but cannot be loaded, with the reason."""
    own = {name: found for name in OWN_KINDS if isinstance(found := _load_own(name), str)}
    return own | _load_plugins().broken


@cache
def get_kind(name: str) -> Kind:
    """Return the kind of this name. Raises `UnknownKind`."""
    found = _load_own(name) if name in OWN_KINDS else _load_plugins().kinds.get(name)
    if isinstance(found, Kind):
        return found
    why = list_broken_kinds().get(name)
    if why is not None:
        raise UnloadableKind(f"{name} is installed and cannot be loaded: {why}")
    raise UnknownKind(f"expected one of {', '.join(list_kinds())}")


def find_kind(name: str) -> Kind | None:
    """Return the kind of this name; None if it cannot be used here."""
    try:
        return get_kind(name)
    except UnknownKind:
        return None


@dataclass(frozen=True, slots=True)
class _PluginKinds:
    kinds: dict[str, Kind] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


@cache
def _load_own(name: str) -> Kind | str:
    """Return the kind, or why its library cannot be loaded here."""
    try:
        own: Kind = importlib.import_module(f"app.sources.{name}").KIND
    except Exception as error:
        log.exception("source kind cannot be loaded, kind=%s", name)
        return _describe_error(error)
    return own


@cache
def _load_plugins() -> _PluginKinds:
    """Load the kinds of other packages. One that fails is logged and left out, without affecting the others."""
    found = _PluginKinds()
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
            if not isinstance(loaded, Kind):
                raise TypeError(f"{point.value} is not a Kind")
        except Exception as error:
            log.exception("source kind cannot be loaded, kind=%s, entry_point=%s", point.name, point.value)
            found.broken[point.name] = _describe_error(error)
            continue
        found.kinds[loaded.name] = loaded
    return found


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
