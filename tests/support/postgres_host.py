"""One of several real Beacon hosts on one PostgreSQL."""

from pathlib import Path
from typing import Any

import psycopg
from flask import Flask

from app import create_app
from app.accounts import users
from app.config import Settings
from app.db import db, write
from app.flags import embedded
from app.flags.evaluation import Flag
from tests.support.beacon_server import PASSWORD, PEOPLE, Beacon

SECRET_KEY = "for the tests only"


class PostgresHost(Beacon):
    """A Beacon whose database is at `address`, a migrated one. The first host adds the people."""

    def __init__(self, folder: Path, address: str, **environment: Any) -> None:
        self._address = address
        super().__init__(folder, DATABASE_URL=address, SECRET_KEY=SECRET_KEY, **environment)

    def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Straight into the database, as another program would."""
        with psycopg.connect(self._address, autocommit=True) as connection:
            cursor = connection.execute(statement.replace("?", "%s").encode(), parameters)
            return list(cursor.fetchall()) if cursor.description else []

    def disconnect(self) -> None:
        """Close what this process holds open; it opens again when it is used next."""
        with self.app.app_context():
            db.engine.dispose()

    def _prepare(self, streaming: int) -> Flask:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        app = create_app(Settings(instance_dir=self.folder, database_url=self._address, secret_key=SECRET_KEY))
        with app.app_context(), write() as session:
            if not users.list_users(session):
                for name, role in PEOPLE.items():
                    users.add(session, name, role, PASSWORD, "test")
                embedded.change_rollout(session, Flag.SSE_STREAMING, "test", "a test", streaming)
        return app
