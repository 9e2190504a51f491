"""Answers errors: `application/problem+json` (RFC 9457) for programs, a page for browsers."""

import logging
from functools import partial
from http import HTTPStatus
from typing import Any, NoReturn

from flask import Flask, Request, Response, jsonify, render_template, request
from flask.json.provider import DefaultJSONProvider
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from app.db import DatabaseUnavailable
from app.infra import database_errors, json_limits, lock_holders
from app.infra.problems import Problem, invalid_input
from app.infra.strict_json import DuplicateKey, reject_duplicate_keys
from app.web import unsent_form
from app.web.page_address import last_page

log = logging.getLogger(__name__)

# Request bodies may be nested as deep as the parser allows; each route has its own, lower limits.
MAX_PARSED_DEPTH = 1_000


def wants_page() -> bool:
    """True for a browser navigation; programs, fetches and streams get JSON."""
    accept = request.accept_mimetypes
    return bool(accept) and accept.best_match(["application/json", "text/html"]) == "text/html" and str(accept) != "*/*"


class _Json(DefaultJSONProvider):
    """Parses every JSON request body, except batches of events (app/eventlog/batch.py).

    A body nested so deeply that it exhausts the parser is invalid JSON: 400, not 500. A body with more values than may
    be parsed in one go is refused before parsing.
    """

    sort_keys = False  # responses keep the order of keys in the contract

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        json_limits.measure_json(
            s if isinstance(s, bytes) else s.encode(errors="surrogatepass"), max_depth=MAX_PARSED_DEPTH
        )
        parse = partial(super().loads, object_pairs_hook=reject_duplicate_keys, **kwargs)
        try:
            return json_limits.parse_off_loop(parse, s)
        except RecursionError as error:
            raise ValueError("nested too deep") from error


class _Request(Request):
    """A request that explains what is wrong with a body that is not JSON."""

    def on_json_loading_failed(self, e: ValueError | None) -> NoReturn:
        """Raise the matching error. `e` is None if the content type is not JSON."""
        if e is None:
            raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
        if isinstance(e, json_limits.JsonTooLarge):
            raise RequestEntityTooLarge(f"The body holds {e}. Send it in several parts.")
        if isinstance(e, DuplicateKey):
            raise Problem(400, "Bad input", f"Send each key once: {e}.", errors={e.key: "appears more than once"})
        raise BadRequest(f"The body is not JSON: {e}.")


class _Response(Response):
    """A response that can be sent whatever text it holds."""

    def set_data(self, value: bytes | str) -> None:
        # A service's text may hold unpaired surrogates, which UTF-8 cannot encode. One of them must not cost the page.
        super().set_data(value.encode("utf-8", "replace") if isinstance(value, str) else value)


def init_app(app: Flask) -> None:
    app.request_class = _Request
    app.response_class = _Response
    app.json = _Json(app)
    app.register_error_handler(Problem, problem_response)
    app.register_error_handler(HTTPException, _handle_http)
    app.register_error_handler(ValidationError, lambda error: problem_response(invalid_input(error)))
    app.register_error_handler(Exception, _handle_unexpected)
    # DBAPIError is every error of the driver: SQLite reports a damaged file as one that is of no subclass.
    for kind in (DatabaseUnavailable, DBAPIError, PoolTimeout):
        app.register_error_handler(kind, _handle_database)


def problem_response(problem: Problem) -> Response:
    if wants_page():
        is_kept = request.method == "POST" and unsent_form.keep()
        page = render_template("errors/problem.html", problem=problem, last_page=last_page(), is_kept=is_kept)
        response: Response = _Response(page, mimetype="text/html")
    else:
        response = jsonify(problem.as_json())
        response.mimetype = "application/problem+json"
    response.status_code = problem.status
    response.headers.update(problem.headers)
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def _handle_http(error: HTTPException) -> Response:
    if error.response is not None and isinstance(error.response, Response):
        return error.response
    status = error.code or 500
    allowed = getattr(error, "valid_methods", None)
    headers = {"Allow": ", ".join(sorted(allowed))} if allowed else {}
    return problem_response(Problem(status, HTTPStatus(status).phrase, error.description or "", headers=headers))


def _handle_database(error: Exception) -> Response:
    if database_errors.is_statement_fault(error):
        return _handle_unexpected(error)
    found = database_errors.classify_error(error)
    reason = (str(error).splitlines() or [repr(error)])[0]
    where = f"{request.method} {request.path}"
    log.error("the database is %s, on %s: %s%s", found.state, where, reason, _describe_holders(found.state))
    return problem_response(
        Problem(
            503,
            "Database unavailable",
            found.detail,
            headers={"Retry-After": "2"},
            reason=found.state.replace(" ", "-"),
        )
    )


def _describe_holders(state: database_errors.DatabaseState) -> str:
    """The programs that hold the database's lock, for the log only: the client cannot do anything about them."""
    if state != "busy":
        return ""
    try:
        return f"; held by: {lock_holders.describe_holders(lock_holders.find_writers())}"
    except (SQLAlchemyError, DatabaseUnavailable):
        return ""


def _handle_unexpected(error: Exception) -> Response:
    log.error("unexpected error on %s %s", request.method, request.path, exc_info=error)
    return problem_response(Problem(500, "Something went wrong", "Beacon failed; the error is in its log. Try again."))
