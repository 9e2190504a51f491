"""A stream as a program reads it: a real socket, a thread that parses, and a list of what came."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.machine import scaled
from tests.support.sse_client import Frame, Parser
from tests.support.waiting import wait_for


class LiveStream:
    """Opened by `with`; `frames` grows as they come, `arrived` says when each did (monotonic seconds)."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, timeout_s: float = 15, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        self._connection = (
            http.client.HTTPSConnection(parts.netloc, timeout=timeout_s, context=tls)
            if tls
            else http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
        )
        self._connection.request("GET", f"{parts.path}?{parts.query}", headers=dict(headers))
        self._socket = self._connection.sock
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers
        self.frames: list[Frame] = []
        self.arrived: list[float] = []
        self.closed = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.cut()

    def cut(self) -> None:
        """End it from this side, without a word, as a lost network does."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(scaled(5))
        self._response.close()
        self._connection.close()
        self._socket.close()

    def named(self, event: str) -> list[Frame]:
        return [frame for frame in list(self.frames) if frame.event == event]

    def ids(self) -> list[int]:
        """The ids of the events in the order in which they came."""
        return [int(frame.id) for frame in list(self.frames) if frame.id is not None and frame.event != "reset"]

    @property
    def last_id(self) -> str:
        return str(self.ids()[-1])

    def wait_named(self, event: str, within_s: float = 10.0) -> Frame:
        return wait_for(lambda: self.named(event), f"an event {event}", within_s, every_s=0.005)[-1]

    def wait_id(self, event_id: int, within_s: float = 10.0) -> None:
        wait_for(lambda: event_id in self.ids(), f"the event {event_id}", within_s, every_s=0.005)

    def wait_until(self, look: Callable[[], bool], what: str, within_s: float = 10.0) -> None:
        wait_for(look, what, within_s)

    def _read(self) -> None:
        parser = Parser()
        try:
            while chunk := self._response.read1(65536):
                for frame in parser.feed(chunk):
                    self.arrived.append(time.monotonic())
                    self.frames.append(frame)
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # cut by either side: what came until then stands
        finally:
            self.closed.set()
