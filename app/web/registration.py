"""Registers all blueprints and the request layers around them (errors, CSRF, compression, sessions)."""

from importlib import import_module

from flask import Flask
from werkzeug.utils import find_modules

from app.web import (
    account,
    admin,
    assets,
    audit,
    commands,
    compression,
    csrf,
    dashboard,
    discrepancies,
    errors,
    events_api,
    failures,
    headers,
    health,
    jobs,
    login_sessions,
    malformed_requests,
    notifications,
    path_prefix,
    request_body,
    rollout,
    search,
    services,
    stream_api,
    template_source,
    unsent_form,
)

REQUEST_LAYERS = (
    *(errors, malformed_requests, request_body, template_source, assets),
    *(compression, headers, login_sessions, csrf),
    # Before compression, because responses pass the layers from the last to the first.
    *(path_prefix, unsent_form),
)
# Each URL prefix has one package with one blueprint. Its modules add their routes when they are imported.
PACKAGES = (
    *(account, admin, audit, commands, dashboard, discrepancies, events_api, failures, health, jobs, notifications),
    *(rollout, search, services, stream_api),
)

# Once, at import: a worker that is forked from a process that has imported Beacon need not do it again.
for _package in PACKAGES:
    for _module in find_modules(_package.__name__):
        import_module(_module)


def register(app: Flask) -> None:
    for part in REQUEST_LAYERS:
        part.init_app(app)
    for package in PACKAGES:
        app.register_blueprint(package.bp)
