"""A real Unleash server for tests, from its npm package, on a database of the tests' PostgreSQL."""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
import requests

from scripts import bootstrap
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.waiting import wait_for

ADMIN_TOKEN = "*:*.admin-of-the-tests"
CLIENT_TOKEN = "default:development.client-of-the-tests"
ENVIRONMENT = "development"
EDITOR = 2  # the number of a role that every Unleash has
# Migrations of an empty database take most of it.
START_S = 90
TIMEOUT_S = 10


class Unleash:
    """One server. `kill` and `start` keep its port and database, so that it comes back as it was."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        script = bootstrap.UNLEASH / "node_modules" / "unleash-server" / "dist" / "server.js"
        assert script.exists(), "no Unleash server; python3 scripts/bootstrap.py test installs it"
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self._database_url,
            "DATABASE_SSL": "false",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self.port),
            "UNLEASH_URL": self.url,
            "UNLEASH_SECRET": "for the tests only",
            "INIT_ADMIN_API_TOKENS": ADMIN_TOKEN,
            "INIT_BACKEND_API_TOKENS": CLIENT_TOKEN,
            "CHECK_VERSION": "false",
            "SEND_TELEMETRY": "false",
            "CLIENT_FEATURE_CACHING_ENABLED": "false",
            "NODE_ENV": "production",
        }
        self._process = subprocess.Popen(
            [str(bootstrap.BIN / "node"), str(script)],
            env=environment,
            cwd=bootstrap.UNLEASH,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._answers, "Unleash to answer", START_S)

    def kill(self) -> None:
        """At once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(scaled(20))
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def admin(self, method: str, path: str, json: Any = None) -> Any:
        """What the Admin API answers; fails where it refuses."""
        response = requests.request(
            method,
            f"{self.url}/api/admin{path}",
            json=json,
            headers={"Authorization": ADMIN_TOKEN},
            timeout=TIMEOUT_S,
        )
        assert response.ok, f"{response.status_code} {response.text}"
        return response.json() if response.content else None

    def add_flag(self, name: str, percentage: int) -> None:
        """A flag as people make them: one gradual rollout in the environment of the tests, switched on."""
        self.admin("POST", "/projects/default/features", {"name": name, "type": "release"})
        self.add_strategy(name, percentage)
        self.switch(name, on=True)

    def add_strategy(self, name: str, percentage: int, **more: Any) -> None:
        parameters = {"rollout": str(percentage), "stickiness": "userId", "groupId": name}
        body = {"name": "flexibleRollout", "parameters": parameters, "constraints": [], **more}
        self.admin("POST", f"{_place(name)}/strategies", body)

    def switch(self, name: str, *, on: bool) -> None:
        self.admin("POST", f"{_place(name)}/{'on' if on else 'off'}")

    def strategies(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.admin("GET", _place(name))["strategies"]
        return found

    def set(self, name: str, percentage: int) -> None:
        """As somebody does in Unleash's own pages."""
        (strategy,) = self.strategies(name)
        patch = [{"op": "replace", "path": "/parameters/rollout", "value": str(percentage)}]
        self.admin("PATCH", f"{_place(name)}/strategies/{strategy['id']}", patch)

    def percentage(self, name: str) -> int:
        (strategy,) = self.strategies(name)
        return int(strategy["parameters"]["rollout"])

    def replace_strategies(self, name: str, *wanted: dict[str, Any], percentage: int = 10) -> None:
        for strategy in self.strategies(name):
            self.admin("DELETE", f"{_place(name)}/strategies/{strategy['id']}")
        for more in wanted:
            self.add_strategy(name, percentage, **more)
        self.switch(name, on=True)  # without a strategy Unleash switches it off

    def reset(self, name: str, percentage: int) -> None:
        """One gradual rollout, switched on, as a test finds it."""
        self.replace_strategies(name, {}, percentage=percentage)

    def archive(self, name: str) -> None:
        """Gone for whoever asks for flags, until `bring_back`."""
        self.admin("DELETE", f"/projects/default/features/{name}")

    def bring_back(self, name: str) -> None:
        self.admin("POST", f"/archive/revive/{name}")

    def workers_token(self) -> str:
        """A backend token of its own, which `revoke` ends."""
        wanted = {"tokenName": secrets.token_hex(4), "type": "client", "environment": ENVIRONMENT, "projects": ["*"]}
        return str(self.admin("POST", "/api-tokens", wanted)["secret"])

    def revoke(self, token: str) -> None:
        """A server goes on to take a token that it has seen, until it is started again."""
        self.admin("DELETE", f"/api-tokens/{quote(token, safe='')}")
        self.kill()
        self.start()

    def add_segment(self, name: str, *users: str) -> int:
        only = {"contextName": "userId", "operator": "IN", "values": [*users]}
        return int(self.admin("POST", "/segments", {"name": name, "constraints": [only]})["id"])

    def set_parent(self, child: str, parent: str) -> None:
        self.admin("POST", f"/projects/default/features/{child}/dependencies", {"feature": parent, "enabled": True})

    def remove_parents(self, child: str) -> None:
        self.admin("DELETE", f"/projects/default/features/{child}/dependencies")

    def editors_token(self) -> str:
        """The personal access token of somebody who may edit flags and skip no approval."""
        who = {"username": "edith", "password": secrets.token_urlsafe()}
        self.admin("POST", "/user-admin", {**who, "name": "Edith", "rootRole": EDITOR, "sendEmail": False})
        with requests.Session() as browser:
            assert browser.post(f"{self.url}/auth/simple/login", json=who, timeout=TIMEOUT_S).ok
            wanted = {"description": "beacon", "expiresAt": "2100-01-01T00:00:00.000Z"}
            made = browser.post(f"{self.url}/api/admin/user/tokens", json=wanted, timeout=TIMEOUT_S)
        assert made.ok, made.text
        return str(made.json()["secret"])

    @contextmanager
    def approvals(self) -> Iterator[None]:
        """Change requests are on for the environment: the paid pages write this row, every server heeds it."""
        place = ("default", ENVIRONMENT)
        with psycopg.connect(self._database_url, autocommit=True) as connection:
            connection.execute("INSERT INTO change_request_settings (project, environment) VALUES (%s, %s)", place)
            try:
                yield
            finally:
                connection.execute("DELETE FROM change_request_settings WHERE (project, environment) = (%s, %s)", place)

    def revive(self) -> None:
        """Whatever a test did to it."""
        if self._process is None:
            self.start()
        else:
            self.thaw()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "Unleash ended while it started"
        try:
            return requests.get(f"{self.url}/health", timeout=scaled(1)).ok
        except requests.RequestException:
            return False


def _place(name: str) -> str:
    return f"/projects/default/features/{name}/environments/{ENVIRONMENT}"
