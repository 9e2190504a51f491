"""What `make run` starts: a demo job service, demo logins, streaming for all, and the web server."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import click
import requests
import sqlalchemy as sa

from app import ROOT, create_app, doctor, setup
from app.accounts import people
from app.accounts.models import User
from app.config import Settings
from app.db import write
from app.eventlog.audience import ROLES
from app.reconciliation import registration, registry
from app.rollout import store
from app.rollout.flags import Flag
from app.rollout.models import FlagRow
from app.rollout.provider import provider

GUNICORN_CONF = ROOT / "gunicorn.conf.py"
READY_S = 20.0
STOP_S = 30.0
SERVICE = "palantir"


class CannotStart(Exception):
    """A part of the demo did not start; the text says which and why."""


def run(settings: Settings) -> int:
    """Start everything, wait for the first that ends (or Ctrl-C), stop the rest; the exit status."""
    app = create_app(settings)
    setup.migrate(app, settings)
    children: list[subprocess.Popen[bytes]] = []
    # A closed terminal (SIGHUP) or SIGTERM must end the children too; Ctrl-C reaches them by themselves.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(0))
    try:
        service, url = _start_service(settings.instance_dir)
        children.append(service)
        with app.app_context():
            logins = _prepare(settings.instance_dir, url)
        children.append(_start_web(settings))
        _wait_ready(settings, children)
        with app.app_context():
            _, flags = doctor.flag_source(app)
        _print_addresses(settings, url, flags, logins)
        while all(child.poll() is None for child in children):
            time.sleep(0.2)
        raise CannotStart(_who_ended(children))
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(children)


def _who_ended(children: list[subprocess.Popen[bytes]]) -> str:
    names = ("the demo job service", "the web server")
    ended = [
        f"{name} ended (status {child.poll()})"
        for name, child in zip(names, children, strict=False)
        if child.poll() is not None
    ]
    return f"{' and '.join(ended)}; everything else was stopped, start again with make run"


def _start_service(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """The demo service in its own process, on a port that it found free (`DEMO_PORT` fixes it)."""
    command = [sys.executable, "-m", "demo", "--with-parent", "--database", str(folder / "demo.db")]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603 -- our own module
    stdout: IO[bytes] = child.stdout  # type: ignore[assignment]  # given with PIPE
    line = stdout.readline().decode().strip()
    if " at http" not in line:
        child.kill()
        raise CannotStart("the demo job service did not start; its own message stands above")
    return child, line.rsplit(" ", 1)[1]


def _prepare(folder: Path, url: str) -> dict[str, str]:
    """The service registered under its present address, one login a role, streaming on unless somebody set it.

    In a real Unleash nothing is set: its flags are used by others too.
    """
    logins = _logins(folder / "demo_logins.json")
    with write() as session:
        for role, password in logins.items():
            if session.scalar(sa.select(User).where(User.name == role)) is None:
                people.add(session, role, role, password, "demo")
        entry = registry.parsed({"id": SERVICE, "name": "Demo jobs", "kind": "palantir", "url": url})
        registration.put(session, entry, "demo")
        if provider().mode == "embedded" and session.get(FlagRow, Flag.SSE_STREAMING) is None:
            store.change(session, Flag.SSE_STREAMING, "demo", "the demo streams to everyone", 100)
    return logins


def _logins(path: Path) -> dict[str, str]:
    """Passwords are random for each instance, and kept with it: a second start prints the same."""
    if not path.exists():
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump({role: secrets.token_urlsafe(9) for role in ROLES}, file)
    logins: dict[str, str] = json.loads(path.read_text())
    return logins


def _start_web(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "BEACON_INSTANCE_DIR": str(settings.instance_dir),
        "BEACON_PORT": str(settings.port),
        "BEACON_POLL_INTERVAL_S": str(settings.poll_interval_s),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(GUNICORN_CONF), "--log-level", "warning"]
    return subprocess.Popen(command, cwd=ROOT, env=environment)  # noqa: S603 -- our own server


def _wait_ready(settings: Settings, children: list[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and all(child.poll() is None for child in children):
        try:
            if requests.get(f"{_address(settings)}/readyz", timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.05)
    raise CannotStart("the web server did not become ready; its own messages stand above")


def _print_addresses(settings: Settings, service_url: str, flags: str, logins: dict[str, str]) -> None:
    click.echo(f"\nBeacon            {_address(settings)}")
    click.echo(f"demo job service  {service_url}   (break it: PUT /_fault, see README)")
    where = f"{settings.unleash_url}\n{'':<18}{flags}" if settings.unleash_url else flags
    click.echo(f"feature flags     {where}")
    click.echo("\nlog in as         with password")
    for role, password in logins.items():
        click.echo(f"  {role:<16}{password}")
    click.echo("\nCtrl-C stops everything.")
    sys.stdout.flush()


def _address(settings: Settings) -> str:
    host = "127.0.0.1" if settings.bind in ("0.0.0.0", "") else settings.bind  # noqa: S104 -- compared, not bound
    return f"http://{host}:{settings.port}"


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Ask all, wait for all, and only then use force. A second Ctrl-C must not leave one behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + STOP_S
    for child in children:
        try:
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
