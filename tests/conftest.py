"""What every test may ask for: settings, an application on a fresh database, its live half, a client."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from werkzeug.security import generate_password_hash

from app import create_app
from app.accounts import users
from app.config import Settings
from app.db import write
from app.eventlog import reader as log
from app.flags.evaluation import Flag
from app.flags.models import FlagRow
from tests.support.application import Applications, copy_database, empty, is_untouched, make_database, stop
from tests.support.beacon_server import Beacon
from tests.support.cast import CAST, join
from tests.support.fork_server import ForkServer
from tests.support.on_postgres import IS_ON_POSTGRES, skip_what_is_about_sqlite

if TYPE_CHECKING:  # most test processes need none
    from tests.support.postgres import Postgres

pytest_plugins = ["tests.support.failure_report", "tests.support.leftovers"]


def pytest_configure(config: pytest.Config) -> None:
    """Random numbers follow from the seed that is printed; whoever gives one has the order shuffled as well."""
    workerinput = getattr(config, "workerinput", {})  # xdist's
    arguments = workerinput.get("mainargv", config.invocation_params.args)
    # By default an example that takes 200 ms fails, and examples that come slowly do too: how fast is the machine?
    hypothesis_settings.register_profile("beacon", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    hypothesis_settings.load_profile("beacon")
    config.option.randomly_reorganize = any(argument.startswith("--randomly-seed") for argument in arguments)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if IS_ON_POSTGRES:
        skip_what_is_about_sqlite(items)


@pytest.fixture(autouse=True)
def _push_request_context() -> None:
    """Switches pytest-flask's fixture of this name off: one request context around the whole test would share
    `g`, and with it the identity of whoever asked first, between all requests of the test."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests are not part of them."""
    for name in os.environ:
        if name.startswith("BEACON_") or name == "PORT":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _fresh_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of unreadable rows is the process's; each test has a log of its own."""
    monkeypatch.setattr(log, "unreadable_rows", log.UnreadableRows())


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """Real password hashes take 50 ms each, on purpose."""
    cheap = partial(generate_password_hash, method="pbkdf2:sha256:1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "generate_password_hash", cheap)
        yield


@pytest.fixture(scope="session")
def instance_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shared application; each test finds it empty."""
    return tmp_path_factory.mktemp("instance")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file as the migrations leave it; tests copy it."""
    return make_database(tmp_path_factory.mktemp("migrated"))


@pytest.fixture(scope="session")
def peopled_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with everyone of `tests/support/cast.py` in it."""
    return make_database(tmp_path_factory.mktemp("peopled"), *CAST)


@pytest.fixture(scope="session")
def postgres() -> Iterator["Postgres"]:
    """One server for the whole run; each test has a database of its own in it."""
    from tests.support.postgres import Postgres

    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def settings(request: pytest.FixtureRequest, instance_dir: Path) -> Settings:
    """Short heartbeats, room for a test that opens many streams as one person, and the shared folder."""
    empty(instance_dir)
    more = {}
    if IS_ON_POSTGRES:
        server: Postgres = request.getfixturevalue("postgres")
        more["database_url"] = server.renew_database("test")
    return Settings(
        **more,
        instance_dir=instance_dir,
        secret_key="for the tests only",
        heartbeat_s=0.1,
        max_streams_per_user=100,
        connect_rate_per_user=1_000,
    )


@pytest.fixture
def database(settings: Settings, migrated_database: Path) -> Path:
    """The file of this test's database, migrated. There is none on PostgreSQL, where `settings` have a database."""
    if IS_ON_POSTGRES:
        return settings.instance_dir / "none"
    return copy_database(migrated_database, settings)


@pytest.fixture(scope="session")
def applications() -> Iterator[Applications]:
    """The applications of this process, one for each database."""
    made = Applications()
    yield made
    made.close()


@pytest.fixture
def app(settings: Settings, database: Path, applications: Applications) -> Iterator[Flask]:
    """The whole application on a migrated, empty database; nothing runs beside the requests.

    Its routes and templates are the process's, everything with a state is this test's own.
    """
    made = applications.get(settings)
    yield made
    stop(made)


@pytest.fixture
def own_app(settings: Settings, database: Path) -> Iterator[Flask]:
    """One that a test may add routes to."""
    made = create_app(settings)
    yield made
    stop(made)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A browser. pytest-flask's own keeps the context of a request open until the next one; a server does not."""
    return app.test_client()


@pytest.fixture
def cast(app: Flask, settings: Settings, migrated_database: Path, peopled_database: Path) -> Flask:
    """The application with everyone of `tests/support/cast.py` in it."""
    if settings.is_sqlite and is_untouched(settings, migrated_database):
        copy_database(peopled_database, settings)
    else:
        join(app, *CAST)
    return app


@pytest.fixture
def live_app(cast: Flask) -> Flask:
    """The application with its live half running, its cast, and streaming on for everybody."""
    with cast.app_context(), write() as session:
        # The row alone: the log begins empty, as tests count its ids.
        row = {"actor": "test", "reason": "test", "changed_at": "2026-01-01T00:00:00.000Z"}
        session.add(FlagRow(name=Flag.SSE_STREAMING, enabled=True, percentage=100, **row))
    cast.extensions["beacon"].background.start()
    return cast


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    made = ForkServer()
    yield made
    made.close()


@pytest.fixture(scope="module")
def forked_servers(fork_server: ForkServer) -> Iterator[None]:
    """For modules that start many servers and are about something else than how they start."""
    Beacon.fork_server = fork_server
    yield
    Beacon.fork_server = None


@pytest.fixture
def move_database(database: Path) -> Callable[[], Callable[[], None]]:
    """Take the database file away, with its write-ahead log; the answer puts it back."""
    files = [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]

    def away() -> Callable[[], None]:
        moved = [path.rename(path.with_name("away-" + path.name)) for path in files if path.exists()]

        def back() -> None:
            for path in reversed(moved):
                path.rename(path.with_name(path.name.removeprefix("away-")))

        return back

    return away
