"""`/admin/services`: administrators add, change and remove services with plain forms. Programs use `/services`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from flask import Response, redirect, request
from flask.typing import ResponseReturnValue

from app.config import current_settings
from app.db import db, write
from app.infra.problems import Problem
from app.reconciliation import queries as reconciliation
from app.reconciliation import registry, service_admin, service_form, service_revision
from app.reconciliation.models import Service
from app.reconciliation.queries import ServiceWithState
from app.reconciliation.service_revision import SettingsChange
from app.web import display_text
from app.web.admin import bp
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.dashboard.view_models import service_href
from app.web.layout import build_layout, render_page
from app.web.services.routes import in_words

PATH = "/admin/services"
NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Row:
    """One service of the table. `why` belongs to a state or health that is not as it should be."""

    service: Service
    state: str
    word: str
    health: str
    why: str | None
    verified_at: str | None

    @property
    def href(self) -> str:
        return service_href(self.service.id)

    @property
    def is_ours(self) -> bool:
        """Whether it can be changed here: the services file rules what it names."""
        return self.service.origin != "file"


@bp.get(PATH)
@require("admin")
def index() -> ResponseReturnValue:
    return _list(request.args.get("kind", ""), NONE, NONE)


@bp.post(PATH)
@require("admin")
def add() -> ResponseReturnValue:
    kind = request.form.get("kind", "")
    given = service_form.parse_form(service_form.find_kind(kind), request.form, is_new=True)
    try:
        with write() as session:
            row = service_admin.add(session, given, actor().name)
    except registry.InvalidService as error:
        status = 409 if isinstance(error, registry.ServiceIdTaken) else 400
        return _list(kind, service_form.echo_form(request.form), error.errors, status)
    return redirect(f"{PATH}#service-{quote(row.id)}", 303)


@bp.get(f"{PATH}/<service_id>")
@require("admin")
def edit(service_id: str) -> ResponseReturnValue:
    return _edit(service_id)


@bp.post(f"{PATH}/<service_id>")
@require("admin")
def change(service_id: str) -> ResponseReturnValue:
    """`expected` is the revision that the form was made of; whoever was shown what others did and saves nevertheless
    says so with `over`, the revision that they were shown."""
    kind, seen = service_form.find_kind(_ever(service_id).kind), request.form.get("over") or _seen()
    given = service_form.parse_form(kind, request.form, is_new=False)
    try:
        with in_words(), write() as session:
            service_admin.change(session, service_id, given, actor().name, service_revision.parse_revision(seen))
    except Problem as problem:
        return _edit(service_id, service_form.echo_form(request.form), problem, seen)
    return redirect(f"{PATH}#service-{quote(service_id)}", 303)


@bp.get(f"{PATH}/<service_id>/remove")
@require("admin")
def review(service_id: str) -> ResponseReturnValue:
    """What is forgotten and what stays, before anything is."""
    return _review(service_id)


@bp.post(f"{PATH}/<service_id>/remove")
@require("admin")
def remove(service_id: str) -> ResponseReturnValue:
    seen = _seen()
    try:
        with in_words(), write() as session:
            service_admin.remove(session, service_id, actor().name, service_revision.parse_revision(seen))
    except Problem as problem:
        if problem.members.get("reason") != "changed":
            raise
        return _review(service_id, problem, seen)
    return redirect(PATH, 303)


def _list(kind_name: str, typed: Mapping[str, str], errors: Mapping[str, str], status: int = 200) -> Response:
    kind = service_form.find_kind(kind_name)
    fields = service_form.build_fields(kind, typed, errors, is_new=True) if kind else []
    return _page(
        "admin/services.html",
        status,
        rows=_rows(),
        kind=kind,
        kind_name=kind_name,
        choices=service_form.list_kinds(),
        fields=fields,
        elsewhere=_elsewhere(fields, errors),
    )


def _review(service_id: str, refused: Problem | None = None, seen: str | None = None) -> Response:
    """`seen`: what the `refused` press had seen."""
    row = _service(service_id)
    return _page(
        "admin/service_remove.html",
        200 if refused is None else refused.status,
        service=row,
        weight=service_admin.count_dependents(db.session(), service_id),
        password=service_admin.describe_password(row),
        proof=_proof(service_id, refused, seen),
        refused=refused,
        changes=_changes(service_id, seen),
    )


def _edit(
    service_id: str,
    typed: Mapping[str, str] | None = None,
    refused: Problem | None = None,
    seen: str | None = None,
) -> Response:
    """`seen`: what the `refused` press had seen; what is sent from here has seen that too, and no more. Of a service
    that was removed meanwhile it shows what was typed."""
    row = _service(service_id) if refused is None else _ever(service_id)
    kind = service_form.find_kind(row.kind)
    errors = NONE if refused is None else refused.members.get("errors", NONE)
    shown = service_form.build_form_values(row) if typed is None else typed
    fields = service_form.build_fields(kind, shown, errors, is_new=False) if kind else []
    is_moved = refused is not None and refused.status != 400
    return _page(
        "admin/service.html",
        200 if refused is None else refused.status,
        service=row,
        kind=kind,
        fields=service_form.add_current_values(fields, row) if is_moved else fields,
        elsewhere=_elsewhere(fields, errors),
        proof=_proof(service_id, refused, seen),
        refused=refused if is_moved else None,
        changes=_changes(service_id, seen),
        revision=service_revision.read_revision(db.session(), service_id),
        remove_password=service_form.REMOVE_PASSWORD_FIELD in (typed or NONE),
        refused_variable=registry.explain_refused_variable(row),
        password=service_admin.describe_password(row),
    )


def _seen() -> str | None:
    return request.form.get("expected")


def _proof(service_id: str, refused: Problem | None, seen: str | None) -> str:
    """What the form carries as seen: what stands now, or, where a press was refused, what that press had seen."""
    return str(service_revision.read_revision(db.session(), service_id)) if refused is None else seen or ""


def _changes(service_id: str, seen: str | None) -> list[SettingsChange]:
    """What others did since; none where nothing says what was seen."""
    try:
        revision = service_revision.parse_revision(seen)
    except registry.InvalidService:
        return []
    return [] if revision is None else service_revision.list_changes_since(db.session(), service_id, revision)


def _elsewhere(fields: list[service_form.FormField], errors: Mapping[str, str]) -> dict[str, str]:
    """What is wrong and belongs to no field that is shown."""
    shown = {field.name for field in fields}
    return {name: said for name, said in errors.items() if name not in shown}


def _rows() -> list[Row]:
    return [_row(watched) for watched in reconciliation.list_services(db.session())]


def _row(watched: ServiceWithState) -> Row:
    state, current = watched.state, watched.current_status(current_settings().poll_interval_s)
    why = current.reason or (state.reason if state and state.failing_since else None)
    word = display_text.STATE_WORDS[current.status]
    verified_at = state.last_verified_at if state else None
    return Row(watched.service, current.status, word, current.health, why, verified_at)


def _service(service_id: str) -> Service:
    with in_words():
        return registry.find(db.session(), service_id)


def _ever(service_id: str) -> Service:
    """A service that is watched, or was."""
    return db.session().get(Service, service_id) or _service(service_id)


def _page(template: str, status: int = 200, **context: Any) -> Response:
    cursor = queries.cursor(db.session())
    # Never loads itself again: that would take away what somebody types.
    around = replace(build_layout("admin", actor(), cursor), refresh_s=None)
    return render_page(template, cursor, status, layout=around, **context)
