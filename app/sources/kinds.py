"""Every kind of source that can be configured: Beacon's own, and those that other packages bring.

Another package adds one with an entry point of the group `beacon.sources`, whose object is a `Kind` (docs/sources.md).
"""

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points

from app.sources.protocol import Kind

log = logging.getLogger(__name__)

GROUP = "beacon.sources"
# Imported when it is first asked for: the libraries behind some take a while, and most deployments use one.
_OWN_MODULES = {
    "palantir": "app.sources.palantir.palantir_source",
    "rq": "app.sources.rq.rq_source",
    "celery": "app.sources.celery.celery_source",
}


class UnknownKind(ValueError):
    """Nothing of that name is installed; the text says what is."""


class UnloadableKind(UnknownKind):
    """It is installed and cannot be loaded; the text says why."""


def list_kinds() -> list[str]:
    """Of all kinds, Beacon's own first."""
    return [*_OWN_MODULES, *sorted(set(_load_plugins().kinds) - set(_OWN_MODULES))]


def list_broken_kinds() -> Mapping[str, str]:
    """Those that are installed and cannot be loaded, and why."""
    own = {name: found for name in _OWN_MODULES if isinstance(found := _load_own(name), str)}
    return own | _load_plugins().broken


@cache
def get_kind(name: str) -> Kind:
    """Raises `UnknownKind`."""
    found = _load_own(name) if name in _OWN_MODULES else _load_plugins().kinds.get(name)
    if isinstance(found, Kind):
        return found
    why = list_broken_kinds().get(name)
    if why is not None:
        raise UnloadableKind(f"{name} is installed and cannot be loaded: {why}")
    raise UnknownKind(f"expected one of {', '.join(list_kinds())}")


def get_health_path(name: str) -> str:
    """What stands behind the address of a service of this kind to ask for its health."""
    try:
        return get_kind(name).health_path
    except UnknownKind:
        return ""


@dataclass(frozen=True, slots=True)
class _PluginKinds:
    kinds: dict[str, Kind] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


@cache
def _load_own(name: str) -> Kind | str:
    """The kind, or why its library cannot be used here."""
    try:
        own: Kind = importlib.import_module(_OWN_MODULES[name]).KIND
    except Exception as error:
        log.exception("the kind of source %s cannot be loaded", name)
        return _describe_error(error)
    return own


@cache
def _load_plugins() -> _PluginKinds:
    """One that cannot be loaded is logged and left out: the others must not suffer from it."""
    found = _PluginKinds()
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
            if not isinstance(loaded, Kind):
                raise TypeError(f"{point.value} is no Kind")
        except Exception as error:
            log.exception("the kind of source %s (%s) cannot be loaded", point.name, point.value)
            found.broken[point.name] = _describe_error(error)
            continue
        found.kinds[loaded.name] = loaded
    return found


def _describe_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]
