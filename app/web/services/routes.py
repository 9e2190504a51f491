"""JSON API for watched services: list, add, change and remove them."""

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
from app.sources.kinds import find_kind
from app.sources.protocol import ACTION_NAMES, VIEWS
from app.web.auth import actor, require
from app.web.services import bp


@bp.get("/services/registered")
@require("viewer", scope="read")
def list_registered() -> ResponseReturnValue:
    found = queries.list_services(db.session())
    revisions = service_revision.read_revisions(db.session(), [one.service.id for one in found])
    db.session.remove()  # creating many sources takes a while, and the pool is small
    return jsonify([service_to_json(one, revisions[one.service.id]) for one in iterate_in_slices(found)])


@bp.post("/services")
@require("admin", scope="admin")
def add() -> ResponseReturnValue:
    """The body has the keys of the services file. `201` with the service as in `/services/registered`; `409` if the id
    exists."""
    given = _read_body()
    with translate_errors(), write() as session:
        row = service_admin.add(session, given, actor().name)
        revision = service_revision.read_revision(session, row.id)
    body = service_to_json(queries.ServiceWithState(row, None), revision)
    return jsonify(body), 201, {"Location": f"/services/{quote(row.id, safe='')}"}


@bp.patch("/services/<service_id>")
@require("admin", scope="admin")
def change(service_id: str) -> ResponseReturnValue:
    """Keys that are not named stay; null removes a key, also a password. `expected` is the `revision` that the caller
    saw. If it is outdated: `409` with the service as `current` and who changed what as `changes`."""
    given = _read_body()
    with translate_errors(), write() as session:
        expected = service_revision.parse_revision(given.pop("expected", None))
        service_admin.change(session, service_id, given, actor().name, expected)
        found, revision = queries.find_service(session, service_id), service_revision.read_revision(session, service_id)
    assert found is not None  # noqa: S101 -- changed in this transaction
    return jsonify(service_to_json(found, revision))


@bp.delete("/services/<service_id>")
@require("admin", scope="admin")
def remove(service_id: str) -> ResponseReturnValue:
    """With `expected=` only that revision is removed."""
    with translate_errors(), write() as session:
        expected = service_revision.parse_revision(request.args.get("expected"))
        service_admin.remove(session, service_id, actor().name, expected)
    return "", 204


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn errors of the registration into problem responses."""
    try:
        yield
    except registry.ServiceNotFound:
        raise Problem(404, "No such service", "Beacon watches no service with this id.") from None
    except service_admin.ManagedByFile as error:
        raise Problem(409, "Managed by the services file", f"{error}.", reason="file") from None
    except service_revision.RevisionConflict as error:
        raise _changed_meanwhile(error) from None
    except registry.ServiceIdTaken as error:
        raise Problem(409, "Id already exists", "A service with this id already exists.", errors=error.errors) from None
    except registry.InvalidService as error:
        raise Problem(400, "Bad input", f"{error}", errors=error.errors) from None


def _changed_meanwhile(error: service_revision.RevisionConflict) -> Problem:
    found = queries.find_service(db.session(), error.service_id)
    revision = service_revision.read_revision(db.session(), error.service_id)
    current = None if found is None else service_to_json(found, revision)
    changes = [change.as_json() for change in error.changes]
    return Problem(409, "Service was changed", f"{error}", reason="changed", current=current, changes=changes)


def service_to_json(found: queries.ServiceWithState, revision: int) -> dict[str, Any]:
    service, state = found.service, found.state
    current = found.current_status(current_settings().poll_interval_s)
    kind = find_kind(service.kind)
    return {
        "id": service.id,
        "name": service.name,
        "type": service.kind,
        "healthEndpoint": service.url + (kind.health_path if kind else ""),
        "registeredAt": service.registered_at,
        "revision": revision,
        "metadata": {"origin": service.origin, **_camelize(json.loads(service.options_json))},
        "health": current.health,
        "status": None if current.status == "unknown" else current.status,
        "reason": current.reason,
        "silentSince": current.silent_since,
        "lastVerifiedAt": state.last_verified_at if state else None,
        "capabilities": _capabilities(service),
    }


def _capabilities(service: Service) -> dict[str, str | None]:
    """Null for each action and view that the source supports, otherwise the reason why not."""
    able = registry.capabilities_of(service)
    return {what: able.why_not(what) for what in (*ACTION_NAMES, *VIEWS)}


def _read_body() -> dict[str, Any]:
    given = request.get_json()
    if not isinstance(given, dict):
        raise Problem(400, "Bad input", "expected a JSON object with the keys of the services file")
    return given


def _camelize(options: dict[str, Any]) -> dict[str, Any]:
    return {to_camel(name): value for name, value in options.items()}
