"""The Flask application: both APIs, the faults between them, JSON for every error."""

from flask import Flask, Response

from demo import api, control, errors, faults
from demo.service import Service

MAX_BODY_BYTES = 4 * 1024 * 1024


def create_app(service: Service) -> Flask:
    app = Flask("demo", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    service.init_app(app)
    errors.init_app(app)
    faults.install(app, service.faults, f"{api.PREFIX}/")
    app.register_blueprint(api.bp)
    app.register_blueprint(control.bp)
    app.after_request(_not_stored)
    return app


def _not_stored(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response
