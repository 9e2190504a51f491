"""A server by hand for every test that wants one, and a database with a lease table."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from app.db import Base, configure_engine, db
from app.infra.lease import LeaseRow
from tests.sources.upstream import Upstream, upstream


@pytest.fixture
def service() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


@pytest.fixture
def leased(tmp_path: Path) -> Iterator[Flask]:
    """An application with nothing but a SQLite file and the lease table."""
    app = Flask("leased")
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'lease.db'}"
    db.init_app(app)
    with app.app_context():
        configure_engine(db.engine)
        Base.metadata.create_all(db.engine, [LeaseRow.__table__])  # type: ignore[list-item]
        yield app
        db.engine.dispose()
