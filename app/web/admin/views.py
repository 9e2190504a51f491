"""`/admin/services`: forms for adding, changing and removing services. API clients use `/services`."""

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
from app.sources import kinds
from app.web import display_text
from app.web.admin import bp
from app.web.auth import actor, require
from app.web.dashboard import queries
from app.web.dashboard.view_models import service_href
from app.web.layout import build_layout, render_page
from app.web.services.routes import translate_errors

PATH = "/admin/services"
NO_FIELDS: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One row of the table. `why` explains an abnormal state or health."""

    service: Service
    state: str
    label: str
    health: str
    why: str | None
    verified_at: str | None

    @property
    def href(self) -> str:
        return service_href(self.service.id)

    @property
    def is_editable(self) -> bool:
        """True if the service can be changed here, not only in the services file."""
        return self.service.origin != "file"


@bp.get(PATH)
@require("admin")
def index() -> ResponseReturnValue:
    return _render_list(request.args.get("kind", ""), NO_FIELDS, NO_FIELDS)


@bp.post(PATH)
@require("admin")
def add() -> ResponseReturnValue:
    kind = request.form.get("kind", "")
    given = service_form.parse_form(kinds.find_kind(kind or kinds.DEFAULT_KIND), request.form, is_new=True)
    try:
        with write() as session:
            row = service_admin.add(session, given, actor().name)
    except registry.InvalidService as error:
        status = 409 if isinstance(error, registry.ServiceIdTaken) else 400
        return _render_list(kind, service_form.echo_form(request.form), error.errors, status)
    return redirect(f"{PATH}#service-{quote(row.id)}", 303)


@bp.get(f"{PATH}/<service_id>")
@require("admin")
def edit(service_id: str) -> ResponseReturnValue:
    return _render_edit(service_id)


@bp.post(f"{PATH}/<service_id>")
@require("admin")
def change(service_id: str) -> ResponseReturnValue:
    """`expected` is the revision that the form shows. After a conflict, `over` is the newer revision that the user has
    seen and chooses to overwrite."""
    kind = kinds.find_kind(_find_watched_or_removed(service_id).kind)
    seen = request.form.get("over") or _form_revision()
    given = service_form.parse_form(kind, request.form, is_new=False)
    try:
        with translate_errors(), write() as session:
            service_admin.change(session, service_id, given, actor().name, service_revision.parse_revision(seen))
    except Problem as problem:
        return _render_edit(service_id, service_form.echo_form(request.form), problem, seen)
    return redirect(f"{PATH}#service-{quote(service_id)}", 303)


@bp.get(f"{PATH}/<service_id>/remove")
@require("admin")
def review(service_id: str) -> ResponseReturnValue:
    """What a removal deletes and what it keeps."""
    return _render_review(service_id)


@bp.post(f"{PATH}/<service_id>/remove")
@require("admin")
def remove(service_id: str) -> ResponseReturnValue:
    seen = _form_revision()
    try:
        with translate_errors(), write() as session:
            service_admin.remove(session, service_id, actor().name, service_revision.parse_revision(seen))
    except Problem as problem:
        if problem.members.get("reason") != "changed":
            raise
        return _render_review(service_id, problem, seen)
    return redirect(PATH, 303)


def _render_list(kind_name: str, typed: Mapping[str, str], errors: Mapping[str, str], status: int = 200) -> Response:
    kind = kinds.find_kind(kind_name or kinds.DEFAULT_KIND)
    fields = service_form.build_fields(kind, typed, errors, is_new=True) if kind else []
    return _render(
        "admin/services.html",
        status,
        rows=_load_rows(),
        kind=kind,
        kind_name=kind_name,
        choices=service_form.list_kinds(),
        fields=fields,
        other_errors=_errors_without_field(fields, errors),
    )


def _render_review(service_id: str, refused: Problem | None = None, seen: str | None = None) -> Response:
    """`seen`: the revision that the `refused` submission was based on."""
    row = _require_service(service_id)
    return _render(
        "admin/service_remove.html",
        200 if refused is None else refused.status,
        service=row,
        weight=service_admin.count_dependents(db.session(), service_id),
        password=service_admin.describe_password(row),
        expected=_expected_revision(service_id, refused, seen),
        refused=refused,
        changes=_load_changes(service_id, seen),
    )


def _render_edit(
    service_id: str,
    typed: Mapping[str, str] | None = None,
    refused: Problem | None = None,
    seen: str | None = None,
) -> Response:
    """`seen`: the revision that the `refused` submission was based on; the form keeps it. If the service has been
    removed since, the page still shows what was submitted."""
    row = _require_service(service_id) if refused is None else _find_watched_or_removed(service_id)
    kind = kinds.find_kind(row.kind)
    errors = NO_FIELDS if refused is None else refused.members.get("errors", NO_FIELDS)
    shown = service_form.build_form_values(row) if typed is None else typed
    fields = service_form.build_fields(kind, shown, errors, is_new=False) if kind else []
    is_moved = refused is not None and refused.status != 400
    return _render(
        "admin/service.html",
        200 if refused is None else refused.status,
        service=row,
        kind=kind,
        fields=service_form.add_current_values(fields, row) if is_moved else fields,
        other_errors=_errors_without_field(fields, errors),
        expected=_expected_revision(service_id, refused, seen),
        refused=refused if is_moved else None,
        changes=_load_changes(service_id, seen),
        revision=service_revision.read_revision(db.session(), service_id),
        remove_password=service_form.REMOVE_PASSWORD_FIELD in (typed or NO_FIELDS),
        refused_variable=registry.explain_refused_variable(row),
        password=service_admin.describe_password(row),
    )


def _form_revision() -> str | None:
    return request.form.get("expected")


def _expected_revision(service_id: str, refused: Problem | None, seen: str | None) -> str:
    """The form's `expected`: the current revision, or the one of the submission that was refused."""
    return str(service_revision.read_revision(db.session(), service_id)) if refused is None else seen or ""


def _load_changes(service_id: str, seen: str | None) -> list[SettingsChange]:
    """Changes by others since the revision `seen`; none if it is missing or malformed."""
    try:
        revision = service_revision.parse_revision(seen)
    except registry.InvalidService:
        return []
    return [] if revision is None else service_revision.list_changes_since(db.session(), service_id, revision)


def _errors_without_field(fields: list[service_form.FormField], errors: Mapping[str, str]) -> dict[str, str]:
    """Errors that belong to none of the displayed fields."""
    shown = {field.name for field in fields}
    return {name: said for name, said in errors.items() if name not in shown}


def _load_rows() -> list[ServiceRow]:
    return [_build_row(watched) for watched in reconciliation.list_services(db.session())]


def _build_row(watched: ServiceWithState) -> ServiceRow:
    state, current = watched.state, watched.current_status(current_settings().poll_interval_s)
    why = current.reason or (state.reason if state and state.failing_since else None)
    word = display_text.STATE_WORDS[current.status]
    verified_at = state.last_verified_at if state else None
    return ServiceRow(watched.service, current.status, word, current.health, why, verified_at)


def _require_service(service_id: str) -> Service:
    with translate_errors():
        return registry.find(db.session(), service_id)


def _find_watched_or_removed(service_id: str) -> Service:
    """A service that is or was watched."""
    return db.session().get(Service, service_id) or _require_service(service_id)


def _render(template: str, status: int = 200, **context: Any) -> Response:
    cursor = queries.cursor(db.session())
    # No automatic reload: it would discard what the user is typing.
    around = replace(build_layout("admin", actor(), cursor), refresh_s=None)
    return render_page(template, cursor, status, layout=around, **context)
