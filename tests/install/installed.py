"""The `beacon` command of an environment without the checkout."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

PASSWORD = "correct horse battery"
CSRF = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


class Installed:
    def __init__(self, *command: Path | str) -> None:
        self.command = [str(word) for word in command]

    def run(self, *arguments: str, folder: Path, text: str = "") -> str:
        """What it prints; a failure prints the rest."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=folder,
            env=clean_environment(),
            input=text,
            capture_output=True,
            text=True,
            timeout=scaled(120),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def running(self, *arguments: str, folder: Path, ready: str = "") -> Iterator[tuple[str, Path]]:
        """A server, with its address and its output: it answers, and has printed `ready`."""
        port, output = free_port(), folder / "output.txt"
        environment = clean_environment() | {"PORT": str(port), "BEACON_DRAIN_S": "1"}
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*self.command, *arguments],
                cwd=folder,
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}"

        def is_ready() -> bool:
            assert process.poll() is None, output.read_text()
            return ready in output.read_text() and answers(url)

        try:
            wait_for(is_ready, f"beacon {' '.join(arguments)}", within_s=120, every_s=0.05)
            yield url, output
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(scaled(30))
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()


def clean_environment() -> dict[str, str]:
    """The environment variables, except those by which Python finds this checkout or this environment."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("BEACON_", "PYTHON", "VIRTUAL_ENV"))
    }


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=scaled(5)).ok
    except requests.RequestException:
        return False


def log_in(
    browser: requests.Session, url: str, name: str, password: str = PASSWORD, trusted: str | bool = True
) -> requests.Response:
    """The page after the login form. `trusted` is given with each request: a bundle that the environment names would
    win over the session's own."""
    token = CSRF.search(browser.get(f"{url}/login", verify=trusted, timeout=scaled(10)).text)
    assert token
    form = {"username": name, "password": password, "csrf_token": token[1]}
    headers = {"Origin": url, "Referer": f"{url}/login"}
    return browser.post(f"{url}/login", form, headers=headers, verify=trusted, timeout=scaled(10))
