"""Limits how long a TLS handshake at gunicorn itself may take: a client that stalls in it would never be closed."""

import ssl
from collections.abc import Callable

import gevent
from gevent.ssl import SSLSocket
from gunicorn.config import Config


def limit_handshake(config: Config, make_context: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Create gunicorn's TLS context; its clients have as long for the handshake as for the head of a request."""

    class LimitedSocket(SSLSocket):
        def do_handshake(self) -> None:  # type: ignore[override]  # gevent's has no parameter, unlike its type
            try:
                with gevent.Timeout(config.keepalive, TimeoutError("the TLS handshake took too long")):
                    super().do_handshake()
            except OSError:  # TLS errors too: any client can cause them, so no traceback is logged
                self.close()
                raise gevent.GreenletExit from None

    context = make_context()
    context.sslsocket_class = LimitedSocket
    return context
