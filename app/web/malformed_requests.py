"""Answers requests that violate HTTP (RFC 9110 to 9112) with the same 400 problem wherever they are detected."""

import json
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, Response, request
from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkExtension, InvalidChunkSize, NoMoreData
from werkzeug.routing import RequestRedirect

from app.infra.problems import Problem
from app.web.errors import problem_response
from app.web.headers import SECURITY_HEADERS
from app.web.path_prefix import remove_prefix

TITLE = "Malformed request"


def init_app(app: Flask) -> None:
    app.before_request(_check_headers)
    app.before_request(_merge_slashes)
    for kind in (ChunkMissingTerminator, InvalidChunkExtension, InvalidChunkSize, NoMoreData):
        app.register_error_handler(kind, _handle_bad_framing)


def _check_headers() -> None:
    """Check what gunicorn lets through: RFC 9112, sections 3.2 and 6.1."""
    if request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1" and not request.environ.get("HTTP_HOST"):
        raise Problem(400, TITLE, "An HTTP/1.1 request needs a Host header.")
    if request.environ.get("HTTP_HOST") and not request.host:
        raise Problem(400, TITLE, "The Host header is not a valid host.")
    coding = request.headers.get("Transfer-Encoding", "chunked")
    if coding.strip().lower() != "chunked":
        raise Problem(400, TITLE, "Beacon supports only Transfer-Encoding: chunked.")


def _merge_slashes() -> Response | None:
    """Redirect doubled slashes to a path. werkzeug would redirect to an absolute URL from the untrusted Host."""
    found = request.routing_exception
    if not isinstance(found, RequestRedirect):
        return None
    parts = urlsplit(found.new_url)
    inside = remove_prefix(parts.path) or parts.path  # the prefix is added to every redirect where it leaves
    path = f"/{inside.lstrip('/')}"
    location = f"{path}?{parts.query}" if parts.query else path
    return Response(status=found.code, headers={"Location": location, "Cache-Control": "no-store"})


def _handle_bad_framing(error: Exception) -> Response:
    """Answer a badly framed body. gunicorn then finds no end of the body and closes the connection."""
    return problem_response(
        Problem(400, TITLE, f"The body does not match its headers: {str(error) or 'it ends too early'}.")
    )


class CapturedResponse:
    """A fake socket that captures gunicorn's error page for an unreadable request, to answer with a problem."""

    def __init__(self) -> None:
        self._page = b""

    def gettimeout(self) -> float:
        return 0.0

    def sendall(self, data: bytes) -> None:
        self._page += data

    def as_problem(self, error: BaseException) -> bytes:
        """The complete HTTP response as bytes."""
        status = HTTPStatus(int(self._page.split(b" ", 2)[1]))
        detail = str(error) if status < 500 else "Beacon failed; the error is in its log. Try again."
        body = json.dumps(Problem(status, status.phrase, detail).as_json()).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
        )
        head += "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())
        return f"{head}\r\n".encode() + body
