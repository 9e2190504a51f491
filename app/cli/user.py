"""`beacon user`: add, change, disable, enable and list users."""

import getpass

import click

from app.accounts import users
from app.accounts.user_changes import UserChange, apply_change
from app.cli.context import open_migrated_app, operator_name, read_line
from app.db import read, write
from app.eventlog.audience import ROLES

PASSWORD_OPTION = click.option("--password-stdin", is_flag=True, help="read the password from standard input")


@click.group()
def user() -> None:
    """Users: add, disable, enable, role, password, list."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True)
@PASSWORD_OPTION
def add(name: str, role: str, password_stdin: bool) -> None:
    """Add a user; asks for the password unless --password-stdin."""
    password = _read_password(password_stdin)
    with open_migrated_app(), write() as session:
        users.add(session, name, role, password, operator_name())
    click.echo(f"added {name} ({role})")


@user.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Disable a user: sessions, tokens and streams end at once."""
    with open_migrated_app(), write() as session:
        users.disable(session, name, operator_name())
    click.echo(f"disabled {name}")


@user.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Enable a disabled user, with the same role and password. Revoked tokens stay revoked."""
    with open_migrated_app(), write() as session:
        row = users.find_for_change(session, name)
        if not row.disabled_at:
            raise users.BadInput(f"{name} is not disabled")
        apply_change(session, row, UserChange(disabled=False), operator_name())
    click.echo(f"enabled {name}")


@user.command("role")
@click.argument("name")
@click.argument("role", type=click.Choice(ROLES))
def change_role(name: str, role: str) -> None:
    """Give a user another role. Streams end, and resume with what the new role may see."""
    with open_migrated_app(), write() as session:
        users.change(session, name, UserChange(role=role), operator_name())
    click.echo(f"{name} is now {role}")


@user.command("password")
@click.argument("name")
@PASSWORD_OPTION
def change_password(name: str, password_stdin: bool) -> None:
    """Give a user a new password: sessions, tokens and streams end at once."""
    password = _read_password(password_stdin)
    with open_migrated_app(), write() as session:
        users.change_password(session, name, password, operator_name())
    click.echo(f"changed the password of {name}")


@user.command("list")
def list_all() -> None:
    """List name, role and state of each user."""
    with open_migrated_app(), read() as session:
        for row in users.list_users(session):
            click.echo(f"{row.name}\t{row.role}\t{'disabled ' + row.disabled_at if row.disabled_at else 'active'}")


def _read_password(from_stdin: bool) -> str:
    password = read_line() if from_stdin else getpass.getpass("Password: ")
    try:
        password.encode()
    except UnicodeEncodeError:  # Python reads bytes that are no text as surrogates
        raise users.BadInput("the password is no UTF-8 text") from None
    return password
