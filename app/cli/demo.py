"""What `make run` starts: a demo job service, demo logins, streaming for all, and the web server."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import IO

import click
import requests
import sqlalchemy as sa
from flask import Flask

from app import ROOT
from app.accounts import users
from app.accounts.models import User
from app.cli import doctor
from app.cli.context import made
from app.config import Settings
from app.db import write
from app.eventlog.audience import ROLES
from app.flags import embedded
from app.flags.evaluation import Flag
from app.flags.models import FlagRow
from app.flags.provider import provider
from app.infra import database_upgrade
from app.reconciliation import registry, service_admin

GUNICORN_CONF = ROOT / "gunicorn.conf.py"
# A slow machine takes long; a server that will never be ready ends by itself, which is seen at once.
READY_S = 300.0
SAID_EVERY_S = 10.0
LAST_LINES = 20
STOP_S = 30.0
SERVICE = "palantir"


class CannotStart(Exception):
    """A part of the demo did not start; the text says which and why."""


def run(settings: Settings) -> int:
    """Start everything, wait for the first that ends (or Ctrl-C), stop the rest; the exit status."""
    _check_reach(settings)
    with made(settings) as app:
        database_upgrade.migrate_database(app, settings)
        return _run(app, settings)


def _run(app: Flask, settings: Settings) -> int:
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
        raise CannotStart(_who_ended(settings, children))
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(children)


def _check_reach(settings: Settings) -> None:
    """The demo prints its passwords, so only this machine may reach it."""
    if not _is_loopback(settings.bind):
        raise CannotStart(
            f"the demo is for this machine alone, because it prints its passwords; BEACON_BIND is {settings.bind}: "
            "unset it, or add users of your own and use beacon serve"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _who_ended(settings: Settings, children: list[subprocess.Popen[bytes]]) -> str:
    names = ("the demo job service", "the web server")
    ended = [
        f"{name} ended (status {child.poll()})"
        for name, child in zip(names, children, strict=False)
        if child.poll() is not None
    ]
    words = f"{' and '.join(ended)}; everything else was stopped, start again with make run"
    return f"{words}{_last_words(settings)}" if children[1:] and children[1].poll() is not None else words


def _web_log(settings: Settings) -> Path:
    return settings.instance_dir / "demo_web.log"


def _last_words(settings: Settings) -> str:
    """What the web server said last, for a sentence to end with."""
    log = _web_log(settings)
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log.exists() else []
    return f". The end of {log}:\n" + "\n".join(lines) if lines else f". It said nothing in {log}"


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
                users.add(session, role, role, password, "demo")
        entry = registry.parsed({"id": SERVICE, "name": "Demo jobs", "kind": "palantir", "url": url})
        service_admin.put(session, entry, "demo")
        if provider().mode == "embedded" and session.get(FlagRow, Flag.SSE_STREAMING) is None:
            embedded.change(session, Flag.SSE_STREAMING, "demo", "the demo streams to everyone", 100)
    return logins


def _logins(path: Path) -> dict[str, str]:
    """Passwords are random for each instance, and kept with it: a second start prints the same."""
    if not path.exists():
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump({role: secrets.token_urlsafe(12) for role in ROLES}, file)
    logins: dict[str, str] = json.loads(path.read_text())
    return logins


def _start_web(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "BEACON_INSTANCE_DIR": str(settings.instance_dir),
        "BEACON_PORT": str(settings.port),
        "BEACON_POLL_INTERVAL_S": str(settings.poll_interval_s),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(GUNICORN_CONF)]
    with _web_log(settings).open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)  # noqa: S603 -- our own server


def _wait_ready(settings: Settings, children: list[subprocess.Popen[bytes]]) -> None:
    began = said = time.monotonic()
    while time.monotonic() < began + READY_S:
        if any(child.poll() is not None for child in children):
            raise CannotStart(_who_ended(settings, children))
        try:
            if requests.get(f"{_address(settings)}/readyz", timeout=2).ok:
                return
        except requests.RequestException:
            pass
        if time.monotonic() >= said + SAID_EVERY_S:
            said = time.monotonic()
            click.echo(f"still waiting for the web server to be ready, {said - began:.0f} s so far …")
        time.sleep(0.05)
    raise CannotStart(f"the web server was not ready within {READY_S:.0f} s{_last_words(settings)}")


def _print_addresses(settings: Settings, service_url: str, flags: str, logins: dict[str, str]) -> None:
    click.echo(f"\nBeacon            {_address(settings)}")
    click.echo(f"demo job service  {service_url}   (break it: PUT /_fault, see README)")
    where = f"{settings.unleash_url}\n{'':<18}{flags}" if settings.unleash_url else flags
    click.echo(f"feature flags     {where}")
    click.echo(f"its log           {_web_log(settings)}")
    click.echo("\nlog in as         with password")
    for role, password in logins.items():
        click.echo(f"  {role:<16}{password}")
    click.echo("\nCtrl-C stops everything.")
    sys.stdout.flush()


def _address(settings: Settings) -> str:
    host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
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
