"""`beacon backup` and `beacon restore`: the whole database in one file, and back."""

from pathlib import Path

import click
from flask import Flask
from sqlalchemy.orm import Session

from app.audit import chain, head_file
from app.cli.context import open_app, operator_name
from app.config import Settings, load_settings
from app.db import db, read, write
from app.eventlog import generation
from app.eventlog import reader as log
from app.eventlog.generation import LogFingerprint
from app.eventlog.high_water_mark import HighWaterMark
from app.infra import backup_file, database_upgrade, postgres_dump, schema_version, sqlite_backup
from app.infra.backup_file import BackupError, BackupKind

File = click.Path(dir_okay=False, path_type=Path)


@click.command("backup")
@click.argument("file", type=File)
def backup(file: Path) -> None:
    """Write the whole database into FILE, even while Beacon runs.

    An existing FILE is replaced once the new one is complete. On PostgreSQL, pg_dump has to be installed.
    """
    settings = load_settings()
    with open_app(settings) as app, app.app_context():
        revision = _require_revision(settings)
        if settings.is_sqlite:
            sqlite_backup.back_up(_sqlite_path(settings), file)
        else:
            postgres_dump.back_up(settings.database_url, file)
    mib = file.stat().st_size / (1024 * 1024)
    click.echo(f"wrote {file}: {mib:.1f} MiB, schema {revision}; restore it with: beacon restore {file}")


@click.command("restore")
@click.argument("file", type=File)
@click.option("--replace", is_flag=True, help="delete everything in the database first")
def restore(file: Path, replace: bool) -> None:
    """Restore the backup in FILE. Stop Beacon on all hosts first.

    Readers that come back get one reset. On PostgreSQL, pg_restore has to be installed.
    """
    settings = load_settings()
    _check_file(file, "SQLite" if settings.is_sqlite else "PostgreSQL")
    with open_app(settings) as app:
        with app.app_context():
            _check_target(settings, replace)
            former = _read_former(settings)
            if settings.is_sqlite:
                db.engine.dispose()
                sqlite_backup.restore(file, _sqlite_path(settings))
            else:
                _load_dump(settings, file)
        database_upgrade.migrate_database(app, settings)
        with app.app_context():
            head = _begin_generation(settings, file, former)
            _accept_audit_head(app, file)
    click.echo(f"restored {file}: the log ends at id {head}; readers from before get one reset")
    click.echo("start Beacon again, and check the audit with: beacon audit verify")


def _sqlite_path(settings: Settings) -> Path:
    return Path(settings.database_url.removeprefix("sqlite:///"))


def _require_revision(settings: Settings) -> str:
    if settings.is_sqlite and not _sqlite_path(settings).exists():
        raise BackupError(f"there is no database at {_sqlite_path(settings)}; check BEACON_INSTANCE_DIR")
    found = database_upgrade.current_revision()
    if found is None:
        raise BackupError("the database was never migrated, so there is nothing to back up; check BEACON_DATABASE_URL")
    return found


def _check_file(file: Path, wanted: BackupKind) -> None:
    """Check the backup before anything is changed. Raises `BackupError`."""
    kind = backup_file.read_kind(file)
    if kind != wanted:
        raise BackupError(f"{file} is a backup of {kind}, but BEACON_DATABASE_URL names a database of {wanted}")
    if kind == "SQLite":
        sqlite_backup.require_complete(file)
        sqlite_backup.check_file(file, f"the backup {file}")
    read_revision = sqlite_backup.read_revision if kind == "SQLite" else postgres_dump.read_revision
    revision, newest = read_revision(file), schema_version.newest_revision()
    if revision is None:
        raise BackupError(f"{file} is not a backup of Beacon: it has no schema version")
    if revision > newest:
        raise BackupError(
            f"{file} has schema {revision}, made by a newer version; this one knows {newest}: "
            "install the version that made it, or a newer one"
        )


def _check_target(settings: Settings, replace: bool) -> None:
    """Refuse a database that is in use, or that holds something unless it may be replaced."""
    if settings.is_sqlite:
        path = _sqlite_path(settings)
        _require_empty(str(path), sqlite_backup.is_empty(path), replace)
        users = sqlite_backup.find_users(path)
    else:
        with db.engine.connect() as connection:
            where = db.engine.url.render_as_string(hide_password=True)
            _require_empty(where, postgres_dump.is_empty(connection), replace)
            users = postgres_dump.find_users(connection)
    if users:
        raise BackupError(f"the database is in use: {users}; stop Beacon on all hosts, and end other sessions")


def _require_empty(where: str, is_empty: bool, replace: bool) -> None:
    if not is_empty and not replace:
        raise BackupError(f"{where} is not empty; back it up, then add --replace to delete what it holds")


def _read_former(settings: Settings) -> list[LogFingerprint]:
    """What readers may have received from the database that is replaced, as far as that is still known."""
    mark = HighWaterMark(settings).read()
    found = [mark] if mark is not None else []

    def ask(session: Session) -> LogFingerprint:
        return LogFingerprint(generation.current_generation(session).generation, log.head(session))

    try:
        with read() as session:
            found.append(ask(session))
    except Exception:  # noqa: BLE001 -- it may be missing, empty or damaged, which is why it is replaced
        return found
    return found


def _load_dump(settings: Settings, file: Path) -> None:
    with db.engine.begin() as connection:
        postgres_dump.drop_everything(connection)
    db.engine.dispose()
    try:
        postgres_dump.restore(settings.database_url, file)
    except BackupError as error:
        raise BackupError(f"{error}. The database is empty now; run beacon restore again") from error


def _begin_generation(settings: Settings, file: Path, former: list[LogFingerprint]) -> int:
    """Begin a generation, so that no older cursor is taken for one of this log. Return the log's head."""
    with write() as session:
        head = log.head(session)
        params = {"file": file.name, "head": head, "former_head": max((one.head for one in former), default=None)}
        chain.record(session, chain.Entry(operator_name(), "database-restore", "database", params=params))
        generation.begin_generation(session, max((one.head for one in former), default=0))
        HighWaterMark(settings).write(generation.take_fingerprint(session))
    return head


def _accept_audit_head(app: Flask, file: Path) -> None:
    """Accept the restored audit if this host kept a head that it does not contain; any other head stays as it is."""
    keeper = head_file.get_keeper(app)
    try:
        kept = keeper.read_kept()
        if kept is None:
            return
        with read() as session:
            is_contained = head_file.find_contradiction(session, kept) is None
        if not is_contained:
            keeper.accept(f"restored from {file.name}")
            click.echo(
                f"the replaced database's audit was longer: {kept.description}; {kept.file} notes that it was replaced"
            )
    except head_file.HeadFileError as error:
        click.echo(f"warning: {error}; run beacon audit accept-head once it is fixed", err=True)
