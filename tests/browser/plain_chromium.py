"""Chromium as people have it. Playwright keeps every page focused and visible, which switches freezing, throttling and
the back-forward cache off; here pages are driven over the DevTools protocol itself, with none of that."""

import json
import os
import signal
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import select
from time import monotonic
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from scripts.bootstrap import find_chromium
from tests.browser.profiles import login
from tests.browser.tab import PATIENCE_S, listed_ids
from tests.support.beacon_server import Beacon
from tests.support.machine import scaled
from tests.support.waiting import wait_for

ANSWER_S = 20.0
ARGUMENTS = ["--remote-debugging-pipe", "--no-first-run", "--disable-background-networking"]
LISTED = "[...document.querySelectorAll('#changes > [data-id]')].map((row) => Number(row.dataset.id))"
EVENTS = "/api/stream/events"


class PlainChromium:
    """One process with a profile of its own, and the pipe over which it takes commands."""

    def __init__(self, profile: Path, *arguments: str, headed: bool = False) -> None:
        chromium = find_chromium()
        assert chromium
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        window = [] if headed else ["--headless=new"]
        command = [chromium, *window, *ARGUMENTS, *sandbox, f"--user-data-dir={profile}", *arguments, "about:blank"]
        # A killed Chromium leaves files there; its socket needs a short path, which the profile's is not.
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self._to = os.pipe()
        self._from, back = os.pipe()
        self._process = subprocess.Popen(  # the protocol's pipe has the numbers 3 and 4
            ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{back}', "bash", *command],
            pass_fds=(theirs, back),
            env={**os.environ, "TMPDIR": self._folder.name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(back)
        self._commands = 0
        self._rest = b""
        self._tabs: dict[str, PlainTab] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        os.close(self._to)
        os.close(self._from)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(scaled(ANSWER_S))
        self._folder.cleanup()

    def log_in(self, beacon: Beacon, user: str, url: str = "") -> None:
        """The login of a session that went through the form."""
        self.send("Storage.setCookies", cookies=[{**login(beacon, user), "url": url or beacon.url}])

    def open(self, url: str = "about:blank", *, window: bool = False) -> "PlainTab":
        """A tab in front of the others, or a window of its own beside them."""
        target = self.send("Target.createTarget", url="about:blank", newWindow=window)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = PlainTab(self, target, session)
        for domain in ("Page", "Network", "Runtime"):
            tab.send(f"{domain}.enable")
        tab.goto(url)
        return tab

    def send(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """A command and its answer; whatever comes in between is heard."""
        self._commands += 1
        number = self._commands
        command = {"id": number, "method": method, "params": parameters}
        os.write(self._to, json.dumps(command | ({"sessionId": session} if session else {})).encode() + b"\0")
        for message in self._messages(monotonic() + scaled(ANSWER_S), method):
            if message.get("id") == number:
                assert "error" not in message, f"{method}: {message['error']}"
                result: dict[str, Any] = message["result"]
                return result
        raise AssertionError(f"{method}: Chromium has gone")

    def keep(self, folder: Path) -> list[str]:
        """A screenshot of each tab and what it said, and where they are."""
        lines = []
        for number, tab in enumerate(self._tabs.values()):
            console, picture = folder / f"tab-{number}-console.txt", folder / f"tab-{number}.png"
            console.write_text("\n".join([*tab.said, *tab.troubles]))
            lines.append(f"console of tab {number}: {console}")
            with suppress(AssertionError, OSError):  # a tab that is closed, frozen or hidden has no picture
                picture.write_bytes(b64decode(tab.send("Page.captureScreenshot")["data"]))
                lines.append(f"tab {number}: {picture}")
        return lines

    def _messages(self, deadline: float, method: str) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" not in self._rest:
                ready, _, _ = select([self._from], [], [], max(0.0, deadline - monotonic()))
                assert ready, f"{method}: no answer"
                self._rest += os.read(self._from, 1 << 20) or b'{"id":-1}\0'
            line, _, self._rest = self._rest.partition(b"\0")
            message = json.loads(line)
            if message.get("id") == -1:
                return
            if tab := self._tabs.get(message.get("sessionId", "")):
                tab.heard(message)
            yield message


class PlainTab:
    """A tab that Chromium hides, throttles, freezes and keeps in its cache as it does with anybody's."""

    def __init__(self, browser: PlainChromium, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session
        self.asked: list[str] = []
        self.said: list[str] = []
        self.troubles: list[str] = []

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **parameters)

    def heard(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.asked.append(parameters["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(part.get("value")) for part in parameters["args"]))
        elif method == "Runtime.exceptionThrown":
            self.troubles.append(str(parameters["exceptionDetails"]))

    def run(self, expression: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait(self, expression: str, within_s: float = PATIENCE_S) -> Any:
        """Until the expression holds; a page that is being replaced holds nothing."""

        def look() -> Any:
            with suppress(AssertionError):
                return self.run(expression)
            return None

        try:
            return wait_for(look, expression, within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said {self.said[-15:]}") from None

    def goto(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.wait(f"location.href.startsWith({json.dumps(url)}) && document.readyState === 'complete'")

    def follow(self, selector: str) -> None:
        """Click on a link, and wait until the page behind it stands."""
        self.run("window.left = true")
        self.run(f"document.querySelector({json.dumps(selector)}).click()")
        self.wait("!window.left && document.readyState === 'complete'")

    def back(self) -> None:
        self.run("history.back()")

    def show(self) -> None:
        self._browser.send("Target.activateTarget", targetId=self._target)
        self.wait("document.visibilityState === 'visible'")

    def freeze(self) -> None:
        """As Chromium does with tabs that nobody has looked at for long: no timer and no message runs any more."""
        self.send("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        self.send("Page.setWebLifecycleState", state="active")

    def close(self) -> None:
        self._browser.send("Target.closeTarget", targetId=self._target)

    def wait_state(self, state: str, within_s: float = PATIENCE_S) -> None:
        self.wait(f"document.documentElement.dataset.connection === '{state}'", within_s)

    def wait_role(self, role: str, within_s: float = PATIENCE_S) -> None:
        self.wait(f"document.documentElement.dataset.role === '{role}'", within_s)

    def wait_change(self, event_id: int, within_s: float = PATIENCE_S) -> None:
        self.wait(f"document.getElementById('change-{event_id}') !== null", within_s)

    def change_ids(self) -> list[int]:
        ids: list[int] = self.run(LISTED)
        return ids

    def wait_right(self, beacon: Beacon, user: str, within_s: float = PATIENCE_S) -> None:
        """The list shows the newest changes of the log, each once, newest first."""
        wait_for(lambda: self.change_ids() == listed_ids(beacon, user), "the list as in the log", within_s)

    @property
    def streams(self) -> int:
        """How many streams this tab has asked for."""
        self.run("1")  # what happened until now is heard
        return sum(urlsplit(url).path == EVENTS for url in self.asked)
