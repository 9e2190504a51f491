"""Asks Unleash every second what the flags are now, and says when it does not answer.

UnleashClient could fetch by itself, but tells nobody whether a fetch succeeded, logs a traceback for every one that did
not, and piles up jobs behind a server that hangs. So it only evaluates; this thread fetches what it evaluates.
"""

import logging
import threading
import time
from collections.abc import Callable

import requests

from app.flags import document
from app.flags.evaluation import SPEC_VERSION
from app.flags.unleash import unleash_http
from app.infra.clock import utc_text

log = logging.getLogger(__name__)

POLL_EVERY_S = 1.0
# To connect, and between two pieces of the answer.
POLL_TIMEOUT_S = 2.0
# From the question to the end of the answer, whatever comes in between.
POLL_DEADLINE_S = 5.0
MAX_FEED_BYTES = 8 * 1024 * 1024
# What is new is told to the log at once, but never more often than this: Unleash may come and go every second.
MIN_LOG_INTERVAL_S = 30.0
# A failure that lasts is told again so often.
REPEAT_LOG_EVERY_S = 600.0
BAD_SETTINGS = "it cannot be asked: something is wrong with BEACON_UNLEASH_URL or BEACON_UNLEASH_API_TOKEN"


class UnleashPoller:
    """A part of a worker's live half. `on_news` gets every new text, again each second until it has taken it: it raises
    or returns False where it has not. `on_answer` is called after every answer that could be used.

    `logs`: not where somebody waits for the answer and is told.
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
        self._session = unleash_http.create_session()
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
        self._session.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            self.poll_once()
            self._stopping.wait(max(0.05, began + POLL_EVERY_S - time.monotonic()))

    def poll_once(self) -> None:
        """Ask once. Never raises."""
        try:
            text, etag = self._fetch()
            news = None if text is None else document.restrict_to_declared(text)
        except requests.Timeout:
            self._record_failure("it does not answer in time")
        except requests.ConnectionError:
            self._record_failure("it cannot be reached")
        except (unleash_http.ResponseTooLarge, document.InvalidConfiguration, _UnexpectedResponse) as error:
            self._record_failure(str(error))
        except Exception:  # noqa: BLE001 -- whose text may hold the token, and everybody reads a failure
            self._record_failure(BAD_SETTINGS)
        else:
            self._deliver(news, etag)

    def _deliver(self, news: str | None, etag: str) -> None:
        try:
            if news is not None:
                # The tag of a text that was not taken would leave nothing but "not modified" to hear.
                self._etag = "" if self._on_snapshot(news) is False else etag
            self._on_answer()
        except Exception as error:  # noqa: BLE001 -- whatever came of the news (the database is away)
            self._record_success("what it sent could not be kept and is asked for again", error)
        else:
            self._record_success()

    def _fetch(self) -> tuple[str | None, str]:
        """The text and its tag; no text where nothing has changed since the last one that was taken."""
        headers = {**self._headers, "If-None-Match": self._etag} if self._etag else self._headers
        patience = unleash_http.Timeouts(POLL_TIMEOUT_S, POLL_DEADLINE_S, MAX_FEED_BYTES)
        found = unleash_http.send_request(self._session, "GET", self._url, headers, patience)
        if found.status == 304:
            return None, self._etag
        if found.status in (401, 403):
            raise _UnexpectedResponse(f"it refuses UNLEASH_API_TOKEN ({found.status})")
        if found.status != 200:
            raise _UnexpectedResponse(f"it answers {found.status}")
        return found.text, found.etag

    def _record_success(self, but: str = "", error: Exception | None = None) -> None:
        self._failing_since = self.failure = None
        self._log.write(but, error)

    def _record_failure(self, why: str) -> None:
        self._failing_since = self._failing_since or utc_text()
        self.failure = why
        self._log.write(f"{why}; what was known last applies")


class _PollLog:
    """What the log was told last; "" is that all is well, as it is taken to be at the start."""

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
            log.warning("Unleash: %s", words or "it answers again", exc_info=error)
        self._words, self._at = words, now


class _UnexpectedResponse(Exception):
    """An answer that is none; the text says why."""
