"""One error shape: `application/problem+json` (RFC 9457) for programs, a page for browsers."""

import logging
from http import HTTPStatus
from typing import Any, NoReturn

from flask import Flask, Request, Response, jsonify, render_template, request
from flask.json.provider import DefaultJSONProvider
from pydantic import ValidationError
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from app.db import DatabaseUnavailable
from app.infra import database_errors, json_limits, lock_holders
from app.infra.problems import Problem, invalid_input
from app.infra.strict_json import DuplicateKey, reject_duplicate_keys

log = logging.getLogger(__name__)

# Bodies of requests may be nested as deep as the parser goes; what each route takes of them is its own affair.
MAX_PARSED_DEPTH = 1_000


def wants_page() -> bool:
    """True for a browser that navigates; programs, fetches and streams get JSON."""
    accept = request.accept_mimetypes
    return bool(accept) and accept.best_match(["application/json", "text/html"]) == "text/html" and str(accept) != "*/*"


class _Json(DefaultJSONProvider):
    """Every JSON body of a request is parsed here, but for batches of events (app/eventlog/batch.py).

    One that is nested so deep that it exhausts the parser is bad JSON like any other: 400, not 500. One that holds
    more values than are parsed in one go is refused before any of them is.
    """

    sort_keys = False  # answers keep the order of the contract

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        json_limits.measure_json(
            s if isinstance(s, bytes) else s.encode(errors="surrogatepass"), max_depth=MAX_PARSED_DEPTH
        )
        try:
            return super().loads(s, object_pairs_hook=reject_duplicate_keys, **kwargs)
        except RecursionError as error:
            raise ValueError("nested too deep") from error


class _Request(Request):
    """Says what is wrong with a body that is not JSON."""

    def on_json_loading_failed(self, e: ValueError | None) -> NoReturn:
        """`e` is None where the content type is not JSON."""
        if e is None:
            raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
        if isinstance(e, json_limits.JsonTooLarge):
            raise RequestEntityTooLarge(f"The body holds {e}. Send it in several parts.")
        if isinstance(e, DuplicateKey):
            raise Problem(400, "Bad input", f"Send each key once: {e}.", errors={e.key: "appears more than once"})
        raise BadRequest(f"The body is not JSON: {e}.")


def init_app(app: Flask) -> None:
    app.request_class = _Request
    app.json = _Json(app)
    app.register_error_handler(Problem, answer)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(ValidationError, lambda error: answer(invalid_input(error)))
    app.register_error_handler(Exception, _unexpected)
    for kind in (DatabaseUnavailable, OperationalError, InterfaceError, InternalError, ProgrammingError, PoolTimeout):
        app.register_error_handler(kind, _database)


def answer(problem: Problem) -> Response:
    if wants_page():
        response = Response(render_template("errors/problem.html", problem=problem), mimetype="text/html")
    else:
        response = jsonify(problem.as_json())
        response.mimetype = "application/problem+json"
    response.status_code = problem.status
    response.headers.update(problem.headers)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _http(error: HTTPException) -> Response:
    if error.response is not None and isinstance(error.response, Response):
        return error.response
    status = error.code or 500
    allowed = getattr(error, "valid_methods", None)
    headers = {"Allow": ", ".join(sorted(allowed))} if allowed else {}
    return answer(Problem(status, HTTPStatus(status).phrase, error.description or "", headers=headers))


def _database(error: Exception) -> Response:
    if database_errors.is_statement_fault(error):
        return _unexpected(error)
    found = database_errors.classify_error(error)
    log.error("the database is %s: %s%s", found.state, str(error).splitlines()[0], _holders(found.state))
    reason = found.state.replace(" ", "-")
    return answer(Problem(503, "Database unavailable", found.detail, headers={"Retry-After": "2"}, reason=reason))


def _holders(state: database_errors.DatabaseState) -> str:
    """Who is waited for, for whoever reads the log; the one who asked cannot do anything about it."""
    if state != "busy":
        return ""
    try:
        return f"; it is held by: {lock_holders.describe_holders(lock_holders.find_writers())}"
    except (SQLAlchemyError, DatabaseUnavailable):
        return ""


def _unexpected(error: Exception) -> Response:
    log.error("unexpected error on %s %s", request.method, request.path, exc_info=error)
    return answer(Problem(500, "Something went wrong", "Beacon made a mistake; it is in the log. Try again."))
