"""The kinds of source that can be configured: Beacon's own, and those from other packages.

Another package adds a kind with an entry point in the group `beacon.sources` that points to a `Kind` (docs/sources.md).
"""

import importlib
import logging
from collections.abc import Callable, Mapping
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
    brought = (name for name, kind in _load_plugins().items() if isinstance(kind, Kind))
    return [*OWN_KINDS, *sorted(set(brought) - set(OWN_KINDS))]


def list_broken_kinds() -> Mapping[str, str]:
    """Return the kinds that are installed but cannot be loaded, with the reason."""
    found = _load_plugins() | {name: _load_own(name) for name in OWN_KINDS}
    return {name: why for name, why in found.items() if isinstance(why, str)}


@cache
def get_kind(name: str) -> Kind:
    """Return the kind of this name. Raises `UnknownKind`."""
    found = _load_own(name) if name in OWN_KINDS else _load_plugins().get(name)
    if found is None:
        raise UnknownKind(f"expected one of {', '.join(list_kinds())}")
    if isinstance(found, str):
        raise UnloadableKind(f"{name} is installed and cannot be loaded: {found}")
    return found


def find_kind(name: str) -> Kind | None:
    """Return the kind of this name; None if it cannot be used here."""
    try:
        return get_kind(name)
    except UnknownKind:
        return None


@cache
def _load_own(name: str) -> Kind | str:
    return _load(name, lambda: importlib.import_module(f"app.sources.{name}").KIND)


@cache
def _load_plugins() -> dict[str, Kind | str]:
    """Load the kinds of other packages. One that fails is left out, without affecting the others."""
    loaded = ((point.name, _load(point.name, point.load)) for point in entry_points(group=ENTRY_POINT_GROUP))
    return {kind.name if isinstance(kind, Kind) else name: kind for name, kind in loaded}


def _load(name: str, load: Callable[[], object]) -> Kind | str:
    """Return the kind, or why it cannot be loaded here."""
    try:
        kind = load()
        if not isinstance(kind, Kind):
            raise TypeError(f"{kind!r} is not a Kind")
    except Exception as error:
        log.exception("source kind cannot be loaded, kind=%s", name)
        return f"{type(error).__name__}: {error}"[:200]
    return kind
