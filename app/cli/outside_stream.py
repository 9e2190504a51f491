"""Reads a stream through the proxy, and finds out whether it is delayed, compressed or cut."""

import http.client
import json
import os
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from app.cli.finding import Finding

PATH = "/api/stream/events"
PROBLEM_TYPE = "application/problem+json"
# As long as a page waits for `hello` before it tries again.
HELLO_WITHIN_S = 10.0
# A heartbeat that is later than this makes a page say that the stream is late.
LATE_AFTER_S = 5.0
WATCHED_HEARTBEATS = 2
HOW_TO_CHECK = (
    "not checked: it needs a token, from BEACON_DOCTOR_TOKEN or with --token-stdin "
    "(beacon token create NAME --scope stream --days 1)"
)


class StreamEnd(Exception):
    """The stream is over; the text is the reason that Beacon gave, or empty if it was cut."""


def build_tls_context() -> ssl.SSLContext:
    """Trust what `requests` trusts, and this machine's own certificates."""
    context = ssl.create_default_context()
    named = os.environ.get("REQUESTS_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    if Path(named).is_dir():
        context.load_verify_locations(capath=named)
    else:
        context.load_verify_locations(named)
    return context


def check_stream(base: str, token: str, watch_s: float) -> Finding:
    """Read a stream for two heartbeats, or for `watch_s` seconds if that is longer."""
    if not token:
        return Finding("stream", True, HOW_TO_CHECK)
    try:
        with StreamReader(base, token) as stream:
            return Finding("stream", *_judge(stream, watch_s))
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return Finding("stream", False, f"cannot be read: {str(error) or type(error).__name__}")


class StreamReader:
    """One request for a stream, and its frames. `http.client` returns bytes as they come, unlike `requests`."""

    def __init__(self, base: str, token: str) -> None:
        parts = urlsplit(base)
        self._began = time.monotonic()
        self._rest = b""
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = build_tls_context()
            self._connection = http.client.HTTPSConnection(parts.netloc, timeout=HELLO_WITHIN_S, context=context)
        else:
            self._connection = http.client.HTTPConnection(parts.netloc, timeout=HELLO_WITHIN_S)
        self._connection.connect()
        self._socket = self._connection.sock
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {token}"}
        # As a browser does: a proxy that compresses is offered every encoding.
        headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
        self._connection.request("GET", f"{parts.path}{PATH}", headers=headers)

    def __enter__(self) -> "StreamReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._socket.close()

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._began

    def read_head(self) -> http.client.HTTPResponse:
        """Raises `TimeoutError` if it does not come in time."""
        self._response = self._connection.getresponse()
        return self._response

    def next_frame(self, until_s: float) -> tuple[str, str]:
        """Name and data of the next frame. Raises `TimeoutError` at this age of the stream, and `StreamEnd`."""
        while b"\n\n" not in self._rest:
            self._rest += self._read(until_s).replace(b"\r\n", b"\n")
        frame, _, self._rest = self._rest.partition(b"\n\n")
        fields = dict(line.partition(": ")[::2] for line in frame.decode(errors="replace").split("\n"))
        if fields.get("event") == "bye":
            raise StreamEnd(json.loads(fields["data"])["reason"])
        return fields.get("event", ""), fields.get("data", "")

    def _read(self, until_s: float) -> bytes:
        left = until_s - self.age_s
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        try:
            data = self._response.read1(65_536)
        except (ConnectionError, http.client.IncompleteRead):
            data = b""
        if not data:
            raise StreamEnd("")
        return data


def _judge(stream: StreamReader, watch_s: float) -> tuple[bool, str]:
    try:
        answer = stream.read_head()
    except TimeoutError:
        return False, _buffered("its head")
    if (refusal := _explain_refusal(answer)) is not None:
        return False, refusal
    if encoding := answer.headers.get("Content-Encoding"):
        harm = "which may hold events back until more have come"
        return False, f"the proxy compresses it ({encoding}), {harm}: exclude text/event-stream from its compression"
    try:
        name, data = stream.next_frame(HELLO_WITHIN_S)
    except TimeoutError:
        return False, _buffered("hello")
    except StreamEnd:
        return False, _cut(stream.age_s, 0)
    if name != "hello":
        return False, f"begins with {name!r} instead of hello: something other than Beacon answers {PATH}"
    return _watch(stream, float(json.loads(data)["heartbeatS"]), watch_s)


def _watch(stream: StreamReader, heartbeat_s: float, watch_s: float) -> tuple[bool, str]:
    """Wait for heartbeats, each of which may be late by `LATE_AFTER_S`."""
    hello_s, beats, due_s = stream.age_s, 0, stream.age_s + heartbeat_s
    try:
        while beats < WATCHED_HEARTBEATS or stream.age_s < watch_s:
            name, _ = stream.next_frame(due_s + LATE_AFTER_S)
            if name == "heartbeat":
                beats, due_s = beats + 1, stream.age_s + heartbeat_s
    except TimeoutError:
        late = f"a heartbeat that was due after {due_s:.0f} s had not come {LATE_AFTER_S:.0f} s later"
        return False, f"the proxy holds it back: hello came, but {late}; {_BUFFERING_ADVICE}"
    except StreamEnd as end:
        if not str(end):
            return False, _cut(stream.age_s, heartbeat_s)
    prompt = f"hello came after {hello_s:.1f} s, and {beats} heartbeats came in time"
    bound = f"watched for {stream.age_s:.0f} s, so a longer time-out was not seen (--watch SECONDS watches longer)"
    return True, f"{prompt}, uncompressed; {bound}"


def _explain_refusal(answer: http.client.HTTPResponse) -> str | None:
    kind = answer.headers.get("Content-Type", "")
    if answer.status == 200 and kind.startswith("text/event-stream"):
        return None
    # A gateway has JSON of its own for a path that it does not know.
    problem: dict[str, Any] = json.loads(answer.read(100_000)) if kind.startswith(PROBLEM_TYPE) else {}
    if problem.get("reason") == "flag-off":
        return "streaming is off for this user: raise the rollout, or use the token of a user who streams"
    if problem:
        return f"Beacon refuses it ({answer.status}): {problem.get('detail')}"
    what = kind.partition(";")[0] or "no type"
    return f"something other than Beacon answers it ({answer.status}, {what}): pass {PATH} on to Beacon"


_BUFFERING_ADVICE = "switch buffering off for Beacon (nginx: proxy_buffering off, or let it heed X-Accel-Buffering: no)"


def _buffered(what: str) -> str:
    return f"the proxy buffers it: {what} did not come within {HELLO_WITHIN_S:.0f} s; {_BUFFERING_ADVICE}"


def _cut(after_s: float, heartbeat_s: float) -> str:
    need = f"heartbeats come every {heartbeat_s:.0f} s, so any time-out above that would do" if heartbeat_s else ""
    advice = "raise the proxy's time-outs for reading and for whole answers (nginx: proxy_read_timeout 1h)"
    return f"it was cut after {after_s:.0f} s without a goodbye: {advice}{'; ' if need else ''}{need}"
