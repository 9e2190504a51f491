"""`beacon demo`, which `make run` starts: demo job services, demo logins, streaming for all, the web server."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import click
import requests
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from app.accounts import users
from app.accounts.models import User
from app.cli import demo_history, demo_services, doctor, processes
from app.cli.context import open_app
from app.config import Settings
from app.db import write
from app.eventlog.audience import ROLES
from app.flags import embedded
from app.flags.evaluation import Flag
from app.flags.models import FlagRow
from app.flags.provider import current_provider
from app.infra import database_upgrade
from app.infra.demo_guide import DemoService, read_guide, write_guide
from app.reconciliation import registry, service_admin

# A server that cannot start exits, which is noticed at once; one that goes on writing its log is waited for.
SILENCE_TIMEOUT_S = 300.0
PROGRESS_INTERVAL_S = 10.0
LOG_TAIL_LINES = 20
STOP_TIMEOUT_S = 30.0


class CannotStart(Exception):
    """A part of the demo did not start; the text says which one and why."""


def run(settings: Settings) -> int:
    """Start everything, wait until one part ends (or Ctrl-C), stop the rest, and return the exit status."""
    _check_loopback(settings)
    with open_app(settings) as app:
        database_upgrade.migrate_database(app, settings)
        return _run(app, settings)


def _run(app: Flask, settings: Settings) -> int:
    children: list[subprocess.Popen[bytes]] = []
    # A closed terminal (SIGHUP) or SIGTERM must also stop the children. Ctrl-C reaches them directly.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(0))
    # A script that starts it in the background has it ignored; the children take it all the same.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        running = _start_services(settings.instance_dir)
        children.append(running.process)
        with app.app_context():
            logins = _prepare_database(settings.instance_dir, running.services)
        children.append(_start_web(settings))
        _wait_ready(settings, children)
        with app.app_context():
            _, flags = doctor.describe_flag_source(app)
        _print_addresses(settings, running.services, flags, logins)
        while all(child.poll() is None for child in children):
            time.sleep(0.2)
        raise CannotStart(_describe_ended(settings, children))
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(children)


def _check_loopback(settings: Settings) -> None:
    """The demo prints its passwords, so only this machine may reach it."""
    if not _is_loopback(settings.bind):
        raise CannotStart(
            f"the demo runs on this machine only, because it prints its passwords; BEACON_BIND is {settings.bind}: "
            "unset it, or add your own users and run beacon serve"
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _describe_ended(settings: Settings, children: list[subprocess.Popen[bytes]]) -> str:
    """The last child is the web server."""
    web = children[-1]
    ended = [
        f"{'the web server' if child is web else 'the demo job services'} ended (status {child.poll()})"
        for child in children
        if child.poll() is not None
    ]
    words = f"{' and '.join(ended)}; everything else was stopped; start the demo again"
    return f"{words}{_log_tail(settings)}" if web.poll() is not None else words


def _start_services(folder: Path) -> demo_services.RunningServices:
    try:
        return demo_services.start_services(folder)
    except demo_services.NoServices as error:
        raise CannotStart("the demo job services did not start; their own message is above") from error


def _web_log(settings: Settings) -> Path:
    return settings.instance_dir / "demo_web.log"


def _log_size(settings: Settings) -> int:
    log = _web_log(settings)
    return log.stat().st_size if log.exists() else 0


def _log_tail(settings: Settings) -> str:
    """The last lines of the web server's log, to append to a sentence."""
    log = _web_log(settings)
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:] if log.exists() else []
    return f". The end of {log}:\n" + "\n".join(lines) if lines else f". There is no output in {log}"


def _prepare_database(folder: Path, services: Sequence[DemoService]) -> dict[str, str]:
    """Register the services with their current URLs, add one login per role, turn streaming on unless it was changed.

    In a real Unleash no flag is changed, because others use it too.
    """
    logins = _load_or_create_logins(folder / "demo_logins.json")
    with write() as session:
        for role, password in logins.items():
            if session.scalar(sa.select(User).where(User.name == role)) is None:
                users.add(session, role, role, password, "demo")
        _register_services(session, services, read_guide(folder))
        demo_history.invent_hour(session, services)
        if current_provider().mode == "embedded" and session.get(FlagRow, Flag.SSE_STREAMING) is None:
            embedded.change_rollout(session, Flag.SSE_STREAMING, "demo", "the demo streams to everyone", 100)
    write_guide(folder, services)
    return logins


def _register_services(session: Session, services: Sequence[DemoService], last: Sequence[DemoService]) -> None:
    """Those of the last start that do not run now would be stale for ever."""
    for service in services:
        # The demo's own API is that of the default kind.
        kind = {"kind": service.kind} if service.kind else {}
        entry = registry.parse_service({"id": service.id, "name": service.title, "url": service.url, **kind})
        service_admin.put(session, entry, "demo")
    watched = {row.id for row in registry.list_services(session)}
    for gone in {service.id for service in last} - {service.id for service in services}:
        if gone in watched:
            service_admin.remove(session, gone, "demo")


def _load_or_create_logins(path: Path) -> dict[str, str]:
    """Random passwords by role, stored with the instance, so that the next start prints the same ones."""
    if not path.exists():
        with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump({role: secrets.token_urlsafe(12) for role in ROLES}, file)
    logins: dict[str, str] = json.loads(path.read_text())
    return logins


def _start_web(settings: Settings) -> subprocess.Popen[bytes]:
    environment = {
        **processes.child_environment(),
        "BEACON_INSTANCE_DIR": str(settings.instance_dir),
        "BEACON_PORT": str(settings.port),
        "BEACON_POLL_INTERVAL_S": str(settings.poll_interval_s),
    }
    command = processes.serve_command(settings)
    with _web_log(settings).open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603 -- our own server


def _wait_ready(settings: Settings, children: list[subprocess.Popen[bytes]]) -> None:
    began = said = moved = time.monotonic()
    written = 0
    while time.monotonic() < moved + SILENCE_TIMEOUT_S:
        if any(child.poll() is not None for child in children):
            raise CannotStart(_describe_ended(settings, children))
        try:
            if requests.get(f"{_address(settings)}/readyz", timeout=2).ok:
                return
        except requests.RequestException:
            pass
        if (size := _log_size(settings)) != written:
            written, moved = size, time.monotonic()
        if time.monotonic() >= said + PROGRESS_INTERVAL_S:
            said = time.monotonic()
            click.echo(f"still waiting for the web server, {said - began:.0f} s so far …")
        time.sleep(0.05)
    raise CannotStart(
        f"the web server is not ready and has written nothing for {SILENCE_TIMEOUT_S:.0f} s{_log_tail(settings)}"
    )


def _print_addresses(settings: Settings, services: Sequence[DemoService], flags: str, logins: dict[str, str]) -> None:
    click.echo(f"\nBeacon            {_address(settings)}")
    for service in services:
        click.echo(f"demo job service  {service.url}   ({service.title})")
    click.echo(f"how to break them {_address(settings)}/help")
    where = f"{settings.unleash_url}\n{'':<18}{flags}" if settings.unleash_url else flags
    click.echo(f"feature flags     {where}")
    click.echo(f"data              {settings.instance_dir}")
    click.echo(f"web server log    {_web_log(settings)}")
    click.echo("\nlog in as         with password")
    for role, password in logins.items():
        click.echo(f"  {role:<16}{password}")
    click.echo("\nCtrl-C stops everything.")
    sys.stdout.flush()


def _address(settings: Settings) -> str:
    host = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
    return f"http://{host}:{settings.port}"


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    """Terminate all, wait, then kill. A second Ctrl-C is ignored, so that no child is left behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for child in children:
        try:
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
