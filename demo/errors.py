"""Every error is JSON with a sentence, never HTML."""

import json
import logging

from flask import Flask, Response
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

log = logging.getLogger(__name__)

Failure = tuple[dict[str, str], int]


def init_app(app: Flask) -> None:
    app.register_error_handler(ValidationError, _bad_input)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _bad_input(error: ValidationError) -> Failure:
    """Pydantic stands at the edge only, so what it refuses came from the caller."""
    faults = (f"{_where(fault['loc'])}: {fault['msg']}" for fault in error.errors())
    return {"error": "Bad request: " + "; ".join(faults)}, 400


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "body"


def _http_error(error: HTTPException) -> Response:
    """Its own response, for headers such as Allow, with a sentence in place of the page."""
    response = Response(status=error.code, headers=error.get_headers(), content_type="application/json")
    response.set_data(json.dumps({"error": error.description or error.name}))
    return response


def _unexpected(error: Exception) -> Failure:
    log.error("unexpected error", exc_info=error)
    return {"error": f"Internal error: {type(error).__name__}"}, 500
