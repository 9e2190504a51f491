"""The HTTP server, and the port it can leave for a while and come back to."""

import socket
import threading

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

HOST = "127.0.0.1"
BACKLOG = 128
STOP_POLL_S = 0.02  # how often the accept loop looks whether it should stop


class Listener:
    """Serves the app on one port of the loopback interface."""

    def __init__(self, app: Flask, port: int) -> None:
        self._app = app
        self._lock = threading.RLock()
        self._server: BaseWSGIServer | None = None
        self._accepting: threading.Thread | None = None
        self._return: threading.Timer | None = None
        self._socket = _bound_socket(port)
        self.port: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def listen(self) -> None:
        with self._lock:
            self._socket.listen(BACKLOG)
            self._server = _server_on(self._socket, self._app)
            self._socket.close()  # the server has its own descriptor of it
            self._accepting = threading.Thread(
                target=self._server.serve_forever, args=(STOP_POLL_S,), name="accept", daemon=True
            )
            self._accepting.start()

    def refuse(self, seconds: float) -> None:
        """Close the port now, and open it again after `seconds`."""
        with self._lock:
            self._close_server()
            # Bound but not listening: connections are refused, and nobody else can take the port.
            self._socket = _bound_socket(self.port)
            self._return = threading.Timer(seconds, self.listen)
            self._return.daemon = True
            self._return.start()

    def close(self) -> None:
        with self._lock:
            if self._return:
                self._return.cancel()
            self._close_server()
            self._socket.close()

    def _close_server(self) -> None:
        """The requests under way keep their connections; nothing new gets in."""
        if self._server and self._accepting:
            self._server.shutdown()
            # serve_forever closes the socket as the last thing it does, after shutdown() has returned:
            # only the end of its thread says that the port is free.
            self._accepting.join()
            self._server = self._accepting = None


class _QuietHandler(WSGIRequestHandler):
    timeout = 60  # a peer that connects and says nothing holds a thread no longer than this

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """A poller asks every few seconds: a line for each would bury the errors."""


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"cannot listen on {HOST}:{port}: {error.strerror}") from error
    return bound


def _server_on(listening: socket.socket, app: Flask) -> BaseWSGIServer:
    port = listening.getsockname()[1]
    return make_server(HOST, port, app, threaded=True, request_handler=_QuietHandler, fd=listening.fileno())
