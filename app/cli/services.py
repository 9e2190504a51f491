"""`beacon service`: add, change, remove and list watched services, with the keys of the services file."""

from typing import Any

import click

from app.cli.context import open_migrated_app, operator_name, read_line
from app.db import read, write
from app.reconciliation import registry, service_admin, service_revision
from app.reconciliation.service_form import parse_toml_or_text
from app.sources import kinds

EXPECTED_REVISION_OPTION = click.option(
    "--expected",
    type=click.IntRange(min=0),
    metavar="REVISION",
    help="refuse if the service no longer has this revision, as shown by `beacon service list`",
)


@click.group()
def service() -> None:
    """Watched job services: add, change, remove, list."""


@service.command("add")
@click.argument("service_id")
@click.argument("url")
@click.option("--name", help="name on the dashboard; the id by default")
@click.option("--kind", default=kinds.DEFAULT_KIND, show_default=True, help=f"one of {', '.join(kinds.list_kinds())}")
@click.option("--password-stdin", is_flag=True, help="read the password of the service from standard input")
@click.option("--password-env", help="read the password from this environment variable of the server")
@click.option(
    "--option", "options", multiple=True, metavar="KEY=VALUE", help="option of this kind; VALUE as in TOML, or a word"
)
def add(
    service_id: str,
    url: str,
    name: str | None,
    kind: str,
    password_stdin: bool,
    password_env: str | None,
    options: tuple[str, ...],
) -> None:
    """Watch the job service at URL under SERVICE_ID."""
    given: dict[str, Any] = {**dict(map(_parse_option, options)), "id": service_id, "name": name or service_id}
    if password_stdin:
        given["password"] = read_line()
    if password_env:
        given["password_env"] = password_env
    with open_migrated_app(), write() as session:
        service_admin.add(session, {**given, "kind": kind, "url": url}, operator_name())
    click.echo(f"watching {service_id}")


@service.command("change")
@click.argument("service_id")
@click.argument("options", nargs=-1, metavar="KEY=VALUE...")
@click.option("--password-stdin", is_flag=True, help="read a new password from standard input; an empty one removes it")
@EXPECTED_REVISION_OPTION
def change(service_id: str, options: tuple[str, ...], password_stdin: bool, expected: int | None) -> None:
    """Change keys of a service (name, url, password_env, options); KEY= resets a key to its default."""
    given: dict[str, Any] = {key: None if value == "" else value for key, value in map(_parse_option, options)}
    if password_stdin:
        given["password"] = read_line() or None
    with open_migrated_app(), write() as session:
        service_admin.change(session, service_id, given, operator_name(), expected)
    click.echo(f"changed {service_id}")


@service.command("remove")
@click.argument("service_id")
@EXPECTED_REVISION_OPTION
def remove(service_id: str, expected: int | None) -> None:
    """Stop watching the service: its current state is deleted, its history stays."""
    with open_migrated_app(), write() as session:
        service_admin.remove(session, service_id, operator_name(), expected)
    click.echo(f"no longer watching {service_id}")


@service.command("list")
def list_() -> None:
    """List id, kind, URL, name and revision of each service."""
    with open_migrated_app(), read() as session:
        rows = registry.list_services(session)
        revisions = service_revision.read_revisions(session, [row.id for row in rows])
        for row in rows:
            click.echo(f"{row.id}\t{row.kind}\t{row.url}\t{row.name}\t{revisions[row.id]}")


def _parse_option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"{key}: expected KEY=VALUE")
    return key, parse_toml_or_text(value)
