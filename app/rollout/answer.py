"""One question to Unleash whose answer ends in time and has an end, whatever comes in between."""

import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import requests
from urllib3 import exceptions
from urllib3.response import BaseHTTPResponse

PIECE = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    etag: str

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.text)


@dataclass(frozen=True, slots=True)
class Patience:
    """`pause_s`: to connect, and between two pieces; `whole_s`: from the question to the end of the answer."""

    pause_s: float
    whole_s: float
    max_bytes: int


class TooLong(requests.RequestException):
    """The answer was given up at so many bytes."""


def ask(
    session: requests.Session,
    method: str,
    url: str,
    headers: Mapping[str, str],
    patience: Patience,
    body: Any = None,
) -> Answer:
    """Raises `requests.RequestException`: `Timeout` and `ConnectionError` as requests does, or `TooLong`."""
    ends = time.monotonic() + patience.whole_s
    # Of something compressed many pieces may come that give nothing yet, and nobody would look at the clock.
    plain = {**headers, "Accept-Encoding": "identity"}
    response = session.request(
        method, url, json=body, headers=plain, timeout=patience.pause_s, stream=True, allow_redirects=False
    )
    with closing(response):
        found = _read(response.raw, ends, patience.max_bytes)
        return Answer(response.status_code, found.decode("utf-8", "replace"), response.headers.get("ETag", ""))


def _read(raw: BaseHTTPResponse, ends: float, max_bytes: int) -> bytes:
    """Takes what is there: `iter_content` would wait until a whole piece has come, however slowly."""
    found = bytearray()
    try:
        while piece := raw.read1(PIECE, decode_content=True):
            found += piece
            if len(found) > max_bytes:
                raise TooLong(f"its answer is longer than {max_bytes} bytes")
            if time.monotonic() > ends:
                raise requests.Timeout
    except exceptions.TimeoutError as error:
        raise requests.Timeout from error
    except exceptions.HTTPError as error:
        raise requests.ConnectionError(str(error)) from error
    return bytes(found)
