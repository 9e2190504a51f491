"""`/services`: which are watched and how they are; administrators add, change, remove them. Its page: dashboard."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from flask import jsonify, request
from flask.typing import ResponseReturnValue
from pydantic.alias_generators import to_camel

from app.config import current_settings
from app.db import db, write
from app.infra.concurrency import iterate_in_slices
from app.infra.problems import Problem
from app.reconciliation import queries, registry, service_admin, service_revision
from app.reconciliation.models import Service
from app.sources.kinds import health_path
from app.sources.protocol import ACTIONS, VIEWS
from app.web.auth import actor, require
from app.web.services import bp


@bp.get("/services/registered")
@require("viewer", scope="read")
def registered() -> ResponseReturnValue:
    found = queries.services(db.session())
    revisions = service_revision.revisions(db.session(), [one.service.id for one in found])
    db.session.remove()  # making many sources takes a while, and connections are few
    return jsonify([as_json(one, revisions[one.service.id]) for one in iterate_in_slices(found)])


@bp.post("/services")
@require("admin", scope="admin")
def add() -> ResponseReturnValue:
    """The keys of the services file. `201` and the service as `/services/registered` shows it; `409` for a taken id."""
    given = _posted()
    with in_words(), write() as session:
        row = service_admin.add(session, given, actor().name)
        revision = service_revision.revision(session, row.id)
    said = as_json(queries.Watched(row, None), revision)
    return jsonify(said), 201, {"Location": f"/services/{quote(row.id, safe='')}"}


@bp.patch("/services/<service_id>")
@require("admin", scope="admin")
def change(service_id: str) -> ResponseReturnValue:
    """What is not named stays; null removes a key, and with it a password. `expected` is the `revision` that the caller
    saw: `409`, with the service as `current` and who changed what as `changes`, where it is another one by now."""
    given = _posted()
    with in_words(), write() as session:
        expected = service_revision.parse_revision(given.pop("expected", None))
        service_admin.change(session, service_id, given, actor().name, expected)
        found, revision = queries.service(session, service_id), service_revision.revision(session, service_id)
    assert found is not None  # noqa: S101 -- it was changed a moment ago, in the same transaction
    return jsonify(as_json(found, revision))


@bp.delete("/services/<service_id>")
@require("admin", scope="admin")
def remove(service_id: str) -> ResponseReturnValue:
    """`expected=` removes that revision alone."""
    with in_words(), write() as session:
        expected = service_revision.parse_revision(request.args.get("expected"))
        service_admin.remove(session, service_id, actor().name, expected)
    return "", 204


@contextmanager
def in_words() -> Iterator[None]:
    """What the registration refuses, as an answer."""
    try:
        yield
    except registry.NotWatched:
        raise Problem(404, "No such service", "Beacon watches no service of this id.") from None
    except service_admin.RuledByFile as error:
        raise Problem(409, "The services file rules", f"{error}.", reason="file") from None
    except service_revision.ChangedMeanwhile as error:
        raise _changed_meanwhile(error) from None
    except registry.Taken as error:
        raise Problem(409, "Id taken", "There is a service of this id already.", errors=error.errors) from None
    except registry.BadService as error:
        raise Problem(400, "Bad input", f"{error}", errors=error.errors) from None


def _changed_meanwhile(error: service_revision.ChangedMeanwhile) -> Problem:
    found = queries.service(db.session(), error.service_id)
    revision = service_revision.revision(db.session(), error.service_id)
    current = None if found is None else as_json(found, revision)
    changes = [change.as_json() for change in error.changes]
    return Problem(409, "Changed meanwhile", f"{error}", reason="changed", current=current, changes=changes)


def as_json(found: queries.Watched, revision: int) -> dict[str, Any]:
    service, state = found.service, found.state
    current = found.current_status(current_settings().poll_interval_s)
    return {
        "id": service.id,
        "name": service.name,
        "type": service.kind,
        "healthEndpoint": service.url + health_path(service.kind),
        "registeredAt": service.registered_at,
        "revision": revision,
        "metadata": {"origin": service.origin, **_camel(json.loads(service.options_json))},
        "health": current.health,
        "status": None if current.status == "unknown" else current.status,
        "reason": current.reason,
        "silentSince": current.silent_since,
        "lastVerifiedAt": state.last_verified_at if state else None,
        "capabilities": _capabilities(service),
    }


def _capabilities(service: Service) -> dict[str, str | None]:
    """Null for what the source can do, else why it cannot: what clients show disabled."""
    able = registry.capabilities_of(service)
    return {what: able.why_not(what) for what in (*ACTIONS, *VIEWS)}


def _posted() -> dict[str, Any]:
    given = request.get_json()
    if not isinstance(given, dict):
        raise Problem(400, "Bad input", "expected a JSON object with the keys of the services file")
    return given


def _camel(options: dict[str, Any]) -> dict[str, Any]:
    return {to_camel(name): value for name, value in options.items()}
