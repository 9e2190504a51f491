"""Polls Unleash for the flags every second, and reports when it does not respond.

UnleashClient could fetch by itself, but it does not report whether a fetch succeeded, logs a traceback for every
failure, and queues jobs behind a server that hangs. So the client only evaluates, and this thread fetches.
"""

import logging
import threading
import time
from collections.abc import Callable

from app.flags import document
from app.flags.evaluation import SPEC_VERSION
from app.infra import bounded_http
from app.infra.clock import utc_text

log = logging.getLogger(__name__)

POLL_EVERY_S = 1.0
# To connect, and between two chunks of the response.
POLL_TIMEOUT_S = 2.0
# For the whole request, including the response body.
POLL_DEADLINE_S = 5.0
MAX_FEED_BYTES = 8 * 1024 * 1024
# Minimum time between two different log lines, because Unleash may fail and recover every second.
MIN_LOG_INTERVAL_S = 30.0
# A lasting failure is logged again after this time.
REPEAT_LOG_EVERY_S = 600.0
BAD_SETTINGS = "the request failed: check BEACON_UNLEASH_URL and BEACON_UNLEASH_API_TOKEN"


class UnleashPoller:
    """A background service of a worker. `on_snapshot` gets every new text. If it raises or returns False, it gets the
    text again after a second. `on_answer` is called after every usable response.

    `logs` is off if a caller waits for the result and shows it.
    """

    def __init__(
        self,
        url: str,
        token: str,
        on_news: Callable[[str], bool | None],
        on_answer: Callable[[], None] = lambda: None,
        *,
        logs: bool = True,
    ) -> None:
        self._url, self._on_snapshot, self._on_answer = f"{url}/api/client/features", on_news, on_answer
        self._headers = {
            "Authorization": token,
            "UNLEASH-APPNAME": "beacon",
            "Unleash-Client-Spec": SPEC_VERSION,
            "Accept": "application/json",
        }
        self._etag = ""
        self._pools = bounded_http.open_connections()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing_since: str | None = None
        self._log = _PollLog(logs)
        self.failure: str | None = None

    @property
    def failing_since(self) -> str | None:
        return self._failing_since

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="unleash", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=POLL_TIMEOUT_S + 0.5)
        self._pools.clear()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            self.poll_once()
            self._stopping.wait(max(0.05, began + POLL_EVERY_S - time.monotonic()))

    def poll_once(self) -> None:
        """Poll once. Never raises."""
        try:
            text, etag = self._fetch()
            news = None if text is None else document.restrict_to_declared(text)
        except bounded_http.TimedOut:
            self._record_failure("it does not respond in time")
        except bounded_http.ConnectionFailed:
            self._record_failure("it cannot be reached")
        except (bounded_http.ResponseTooLarge, document.InvalidConfiguration, _UnexpectedResponse) as error:
            self._record_failure(str(error))
        except Exception:  # noqa: BLE001 -- its text may contain the token, and `failure` is shown to everybody
            self._record_failure(BAD_SETTINGS)
        else:
            self._deliver(news, etag)

    def _deliver(self, news: str | None, etag: str) -> None:
        try:
            if news is not None:
                # With the tag of a text that was not stored, Unleash would only respond "not modified".
                self._etag = "" if self._on_snapshot(news) is False else etag
            self._on_answer()
        except Exception as error:  # noqa: BLE001 -- any error of the callback, such as an unavailable database
            self._record_success("its response could not be stored and will be fetched again", error)
        else:
            self._record_success()

    def _fetch(self) -> tuple[str | None, str]:
        """The text and its ETag; no text if nothing has changed since the last one that was stored."""
        headers = {**self._headers, "If-None-Match": self._etag} if self._etag else self._headers
        limits = bounded_http.RequestLimits(POLL_TIMEOUT_S, POLL_DEADLINE_S, MAX_FEED_BYTES)
        found = bounded_http.send_request(self._pools, "GET", self._url, headers, limits)
        if found.status == 304:
            return None, self._etag
        if found.status in (401, 403):
            raise _UnexpectedResponse(f"it rejects BEACON_UNLEASH_API_TOKEN ({found.status})")
        if found.status != 200:
            raise _UnexpectedResponse(f"it responds with {found.status}")
        return found.text, found.headers.get("ETag", "")

    def _record_success(self, but: str = "", error: Exception | None = None) -> None:
        self._failing_since = self.failure = None
        self._log.write(but, error)

    def _record_failure(self, why: str) -> None:
        self._failing_since = self._failing_since or utc_text()
        self.failure = why
        self._log.write(f"{why}; the last known flags apply")


class _PollLog:
    """Throttles the log lines. The empty text means that all is well, which is the initial state."""

    def __init__(self, logs: bool) -> None:
        self._logs = logs
        self._words = ""
        self._at = float("-inf")

    def write(self, words: str, error: Exception | None = None) -> None:
        now = time.monotonic()
        is_new = words != self._words
        if not (words or is_new) or now - self._at < (MIN_LOG_INTERVAL_S if is_new else REPEAT_LOG_EVERY_S):
            return
        if self._logs:
            log.warning("Unleash: %s", words or "it responds again", exc_info=error)
        self._words, self._at = words, now


class _UnexpectedResponse(Exception):
    """A response that contains no flags; the text says why."""
