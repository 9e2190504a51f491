"""Every kind of source that can be configured: Beacon's own, and those that other packages bring.

Another package adds one with an entry point of the group `beacon.sources`, whose object is a `Kind` (docs/sources.md).
"""

import importlib
import logging
from functools import cache
from importlib.metadata import entry_points

from app.sources.base import Kind

log = logging.getLogger(__name__)

GROUP = "beacon.sources"
# Imported when it is first asked for: the libraries behind some take a while, and most deployments use one.
_OWN = {"palantir": "app.sources.palantir", "rq": "app.sources.rq", "celery": "app.sources.celery"}


class UnknownKind(ValueError):
    """Nothing of that name is installed; the text says what is."""


def names() -> list[str]:
    """Of all kinds, Beacon's own first."""
    return [*_OWN, *sorted(set(_brought()) - set(_OWN))]


@cache
def kind(name: str) -> Kind:
    """Raises `UnknownKind`."""
    if name in _OWN:
        own: Kind = importlib.import_module(_OWN[name]).KIND
        return own
    brought = _brought().get(name)
    if brought is None:
        raise UnknownKind(f"expected one of {', '.join(names())}")
    return brought


def health_path(name: str) -> str:
    """What stands behind the address of a service of this kind to ask for its health."""
    try:
        return kind(name).health_path
    except UnknownKind:
        return ""


@cache
def _brought() -> dict[str, Kind]:
    """One that cannot be loaded is logged and left out: the others must not suffer from it."""
    found: dict[str, Kind] = {}
    for point in entry_points(group=GROUP):
        try:
            loaded = point.load()
            if not isinstance(loaded, Kind):
                raise TypeError(f"{point.value} is no Kind")
        except Exception:
            log.exception("the kind of source %s (%s) cannot be loaded", point.name, point.value)
            continue
        found[loaded.name] = loaded
    return found
