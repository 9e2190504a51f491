"""The application inside the tests' own process: made once, and with new components for each test."""

import filecmp
import shutil
from collections.abc import Callable
from pathlib import Path

from flask import Flask
from sqlalchemy.pool import Pool, QueuePool

from app import add_components, create_app
from app.cli.worker import WorkerServices
from app.config import Settings
from app.db import db
from app.infra import database_upgrade
from tests.support.cast import Person, join
from tests.support.waiting import wait_for


class Applications:
    """An application for each database: its routes, templates and compiled SQL serve all tests on it."""

    def __init__(self) -> None:
        self._made: dict[str, Flask] = {}

    def get(self, settings: Settings) -> Flask:
        """One as `create_app(settings)` gives it. The one who asked before must have stopped it."""
        made = self._made.get(settings.database_url)
        if made is None:
            made = self._made[settings.database_url] = create_app(settings)
        else:
            add_components(made, settings)
        return made

    def close(self) -> None:
        for made in self._made.values():
            stop(made)


def start_worker(app: Flask) -> None:
    """Start what `beacon worker` runs, in this process; `stop` ends it."""
    app.extensions["beacon_worker"] = services = WorkerServices(app, app.extensions["beacon"].settings)
    services.start()


def stop(app: Flask) -> None:
    """End its threads and give its connections back."""
    worker: WorkerServices | None = app.extensions.pop("beacon_worker", None)
    if worker is not None:
        worker.stop()
    app.extensions["beacon"].background.stop()
    with app.app_context():
        # A thread that ends by itself may still read. What it gave back after the pool is gone, nobody would close.
        wait_for(lambda: _connections(db.engine.pool) == 0, "all connections given back")
        db.engine.dispose()


def _connections(pool: Pool) -> int:
    return pool.checkedout() if isinstance(pool, QueuePool) else 0


def make_database(folder: Path, *people: Person, fill: Callable[[Flask], None] | None = None) -> Path:
    """A migrated SQLite file with these people in it, and what `fill` writes, whole in one file."""
    settings = Settings(instance_dir=folder, secret_key="template")
    app = create_app(settings)
    database_upgrade.migrate_database(app, settings)
    join(app, *people)
    if fill:
        fill(app)
    stop(app)  # the last connection that closes takes the write-ahead log in
    return database_path(settings)


def copy_database(source: Path, settings: Settings) -> Path:
    path = database_path(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return path


def database_path(settings: Settings) -> Path:
    assert settings.is_sqlite, "PostgreSQL has no file"
    return Path(settings.database_url.removeprefix("sqlite:///"))


def is_untouched(settings: Settings, template: Path) -> bool:
    """True for a copy of the template that nobody has opened: what is open has a write-ahead log."""
    path = database_path(settings)
    is_open = path.with_name(path.name + "-wal").exists()
    return path.exists() and not is_open and filecmp.cmp(path, template, shallow=False)


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
