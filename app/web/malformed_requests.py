"""Requests that HTTP itself forbids (RFC 9110 to 9112): a 400 like every other, whoever notices it first."""

import json
from http import HTTPStatus
from urllib.parse import urlsplit

from flask import Flask, Response, request
from gunicorn.http.errors import ChunkMissingTerminator, InvalidChunkExtension, InvalidChunkSize, NoMoreData
from werkzeug.routing import RequestRedirect

from app.infra.problems import Problem
from app.web.errors import problem_response

TITLE = "Malformed request"


def init_app(app: Flask) -> None:
    app.before_request(_check_headers)
    app.before_request(_merge_slashes)
    for kind in (ChunkMissingTerminator, InvalidChunkExtension, InvalidChunkSize, NoMoreData):
        app.register_error_handler(kind, _handle_bad_framing)


def _check_headers() -> None:
    """What gunicorn lets through. RFC 9112, sections 3.2 and 6.1."""
    if request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1" and not request.environ.get("HTTP_HOST"):
        raise Problem(400, TITLE, "A request of HTTP/1.1 names its host: send the header Host.")
    if request.environ.get("HTTP_HOST") and not request.host:
        raise Problem(400, TITLE, "The header Host names no host.")
    coding = request.headers.get("Transfer-Encoding", "chunked")
    if coding.strip().lower() != "chunked":
        raise Problem(400, TITLE, "Beacon takes no other Transfer-Encoding than chunked.")


def _merge_slashes() -> Response | None:
    """werkzeug redirects a doubled slash to an absolute address, made from a Host that anybody may write."""
    found = request.routing_exception
    if not isinstance(found, RequestRedirect):
        return None
    parts = urlsplit(found.new_url)
    path = f"/{parts.path.lstrip('/')}"
    location = f"{path}?{parts.query}" if parts.query else path
    return Response(status=found.code, headers={"Location": location, "Cache-Control": "no-store"})


def _handle_bad_framing(error: Exception) -> Response:
    """gunicorn looks for the end of the body afterwards, finds none, and closes the connection."""
    return problem_response(
        Problem(400, TITLE, f"The body is not framed as its head says: {str(error) or 'it ends too early'}.")
    )


class CapturedResponse:
    """Takes what gunicorn writes to a client about a request that it could not read, and says it as a problem."""

    def __init__(self) -> None:
        self._page = b""

    def gettimeout(self) -> float:
        return 0.0

    def sendall(self, data: bytes) -> None:
        self._page += data

    def as_problem(self, error: BaseException) -> bytes:
        """The whole answer, head and body."""
        status = HTTPStatus(int(self._page.split(b" ", 2)[1]))
        detail = str(error) if status < 500 else "Beacon made a mistake; it is in the log. Try again."
        body = json.dumps(Problem(status, status.phrase, detail).as_json()).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body
