"""The `beacon` command. Expected errors print one sentence and exit with status 1, never with a traceback."""

import os
import socket
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from app.accounts import tokens, users
from app.accounts.models import ApiToken
from app.cli import demo, doctor, outside_check, processes
from app.cli import worker as worker_
from app.cli.audit import audit
from app.cli.backup import backup, restore
from app.cli.context import open_app, open_migrated_app, operator_name
from app.cli.finding import Finding
from app.cli.rollout import rollout
from app.cli.rollout_plan import limits, plan_group
from app.cli.services import service
from app.cli.user import user
from app.config import ConfigError, Settings, load_settings
from app.db import DatabaseUnavailable, db, read, write
from app.eventlog import event_types
from app.eventlog.append import InvalidEvent, NewEvent, append
from app.eventlog.audience import CONTROL, EVERYONE
from app.flags import embedded
from app.infra import database_upgrade, strict_json
from app.infra.backup_file import BackupError
from app.infra.problems import Problem
from app.infra.version import VERSION
from app.reconciliation import registry

EXPECTED_ERRORS = (
    ConfigError,
    users.BadInput,
    embedded.InvalidRollout,
    registry.InvalidService,
    DatabaseUnavailable,
    demo.CannotStart,
    BackupError,
)


def main() -> None:
    """Entry point of the console script."""
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except InvalidEvent as error:
        click.echo(f"beacon: {error.field.partition('.')[2]} is wrong; expected: {error}", err=True)
        sys.exit(1)
    except Problem as problem:
        click.echo(f"beacon: {problem.detail}", err=True)
        sys.exit(1)
    except EXPECTED_ERRORS as error:
        click.echo(f"beacon: {error}", err=True)
        sys.exit(1)
    except (SQLAlchemyError, sqlite3.Error) as error:
        why = str(getattr(error, "orig", error)).splitlines()[0]
        click.echo(f"beacon: the database cannot be used: {why}; run beacon doctor for details", err=True)
        sys.exit(1)


@click.group()
@click.version_option(VERSION, prog_name="beacon", message="%(prog)s %(version)s")
def cli() -> None:
    """A live operations dashboard that never claims to be fresher or truer than it is."""


@cli.command()
@click.option("--web-only", is_flag=True, help="without the worker; run beacon worker on this or another host")
def serve(web_only: bool) -> None:
    """Serve Beacon: web workers and a worker. A SQLite database is migrated first."""
    settings = load_settings()
    with open_app(settings) as app:
        if settings.is_sqlite:
            database_upgrade.migrate_database(app, settings)
        if not web_only:
            worker_.WorkerServices(app, settings)  # settings that it cannot use are told here, once
    check_port(settings)
    click.echo(f"beacon: {describe_data(settings)}", err=True)
    command = processes.web_command() if web_only else processes.serve_command(settings)
    os.execve(command[0], command, processes.child_environment())  # noqa: S606 -- replaces this process: signals reach the server directly


def describe_data(settings: Settings) -> str:
    """Say where the data is kept: with relative settings that depends on the folder in which the command runs."""
    folder = f"data is kept in {settings.instance_dir} (BEACON_INSTANCE_DIR sets another folder)"
    database = settings.database_url.removeprefix("sqlite:///")
    if Path(database).is_relative_to(settings.instance_dir):
        return folder
    return f"{folder}, the database in {database if settings.is_sqlite else 'PostgreSQL'}"


@cli.command()
def worker() -> None:
    """Poll services, run commands, steer rollouts, delete old data. `beacon serve` starts one too."""
    worker_.run(load_settings())


@cli.command("demo")
def demo_() -> None:
    """Start demo job service, demo logins, streaming for all and web server. Ctrl-C stops everything."""
    settings = load_settings()
    check_port(settings)
    sys.exit(demo.run(settings))


@cli.command()
def migrate() -> None:
    """Create the database or bring it up to date."""
    settings = load_settings()
    with open_app(settings) as app:
        database_upgrade.migrate_database(app, settings)
        with app.app_context():
            click.echo(f"the database is at revision {database_upgrade.current_revision()}")


@cli.command("doctor")
@click.option("--url", help="also check Beacon at this URL as a browser would, through its proxy")
@click.option("--outside-only", is_flag=True, help="only check the URL; for any machine with a network")
@click.option("--token-stdin", is_flag=True, help="read an API token for the stream from standard input")
@click.option(
    "--watch", default=0.0, metavar="SECONDS", help="read the stream for at least this long, instead of two heartbeats"
)
def doctor_(url: str | None, outside_only: bool, token_stdin: bool, watch: float) -> None:
    """Check database, migrations, clock, descriptors, proxies, sources and flags; say what to do."""
    if outside_only and not url:
        raise click.UsageError("--outside-only needs --url")
    is_fine = True
    if not outside_only:
        settings = load_settings()
        with open_app(settings) as app:
            is_fine = _print_findings(doctor.run_checks(app, settings))
    if url:
        given = sys.stdin.readline() if token_stdin else os.environ.get("BEACON_DOCTOR_TOKEN", "")
        token = given.strip()  # a line break would be refused as a header by an error that repeats it
        is_fine = _print_findings(outside_check.check_from_outside(url, token, watch)) and is_fine
    if not outside_only:
        click.echo("\nsettings:")
        for line in doctor.settings_lines(settings):
            click.echo(f"  {line}")
    sys.exit(0 if is_fine else 1)


def _print_findings(findings: Iterable[Finding]) -> bool:
    """Print each as soon as it is known; return True if all are fine."""
    is_fine = True
    for finding in findings:
        click.echo(f"{'ok  ' if finding.ok else 'FAIL'} {finding.subject}: {finding.text}")
        is_fine = is_fine and finding.ok
    return is_fine


@cli.group()
def token() -> None:
    """API tokens: create, revoke, list."""


@token.command("create")
@click.argument("name", metavar="USER")
@click.option("--scope", "scopes", multiple=True, required=True, help=f"one of {', '.join(tokens.SCOPES)}; repeatable")
@click.option("--days", type=float, help=f"days until it expires; {users.DEFAULT_TOKEN_DAYS:.0f} by default")
def token_create(name: str, scopes: tuple[str, ...], days: float | None) -> None:
    """Create a token and print it on the last line. It is shown only once."""
    with open_migrated_app(), write() as session:
        row, text = users.add_token(session, name, list(scopes), days, operator_name())
        click.echo(f"token {row.id} of {name}, scopes {row.scopes}; it is shown only now:", err=True)
    click.echo(text)


@token.command("revoke")
@click.argument("token_id", type=int)
def token_revoke(token_id: int) -> None:
    """Revoke a token: it stops working and its streams end at once."""
    with open_migrated_app(), write() as session:
        users.revoke_token(session, token_id, operator_name())
    click.echo(f"revoked token {token_id}")


@token.command("list")
def token_list() -> None:
    """List id, user, scopes and expiry of each token."""
    with open_migrated_app(), read() as session:
        for row in session.scalars(db.select(ApiToken).order_by(ApiToken.id)):
            state = "revoked" if row.revoked_at else f"until {row.expires_at}" if row.expires_at else "never expires"
            click.echo(f"{row.id}\t{row.user.name}\t{row.scopes}\t{state}")


cli.add_command(service)
cli.add_command(user)


@cli.command()
@click.argument("type_")
@click.argument("data")
@click.option("--audience", default=EVERYONE, show_default=True)
def publish(type_: str, data: str, audience: str) -> None:
    """Publish one event: a type and its payload as a JSON object."""
    try:
        payload = strict_json.loads(data)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"the payload is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise click.UsageError('the payload must be a JSON object, like \'{"jobId": "7f3"}\'')
    if event_types.is_reserved_type(type_) or audience == CONTROL:
        raise click.UsageError(f"{type_} to {audience} is reserved for Beacon")
    with open_migrated_app(), write() as session:
        ids = append(session, [NewEvent(type_, payload, audience)])
    click.echo(ids[0])


rollout.add_command(plan_group)
rollout.add_command(limits)
cli.add_command(rollout)
cli.add_command(audit)
cli.add_command(backup)
cli.add_command(restore)


def check_port(settings: Settings) -> None:
    """Check that the port is free, for one clear error instead of gunicorn's retries."""
    with socket.socket(socket.AF_INET6 if ":" in settings.bind else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.bind, settings.port))
        except OSError as error:
            raise ConfigError(
                f"port {settings.port} on {settings.bind} cannot be used ({error.strerror}); "
                "stop the program that uses it, or choose another port: PORT=8001"
            ) from error


if __name__ == "__main__":
    main()
