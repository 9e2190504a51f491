"""GET, HEAD and OPTIONS on every route, with whatever a form could send: they change nothing and log nobody in."""

from collections.abc import Mapping

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from app.db import db
from tests.support.cast import ADA, PASSWORD, logged_in
from tests.test_permissions import VALUES

# What runs by itself beside the requests of a test, and what is written only to see whether the database takes writes.
OF_THE_SERVER = {"lease", "presence", "write_probe"}
FORM = {"username": ADA.name, "password": PASSWORD, "id": "1", "all": "1", "minutes": "60", "theme": "dark"}


def contents(app: Flask) -> Mapping[str, object]:
    """All rows of all tables."""
    with app.app_context():
        names = set(sa.inspect(db.engine).get_table_names()) - OF_THE_SERVER
        with db.engine.connect() as connection:
            return {name: connection.exec_driver_sql(f'SELECT * FROM "{name}"').fetchall() for name in names}


def readable(app: Flask) -> list[Rule]:
    return [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or set())]


def path_of(app: Flask, rule: Rule) -> str:
    values = {name: VALUES.get(name, "nothing") for name in rule.arguments}
    with app.test_request_context():
        built = rule.build(values)
    assert built
    return str(built[1])


@pytest.fixture(params=["anonymous", "ada"])
def client(cast: Flask, request: pytest.FixtureRequest) -> FlaskClient:
    return cast.test_client() if request.param == "anonymous" else logged_in(cast, ADA)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_a_safe_method_changes_nothing_on_any_route(cast: Flask, client: FlaskClient, method: str) -> None:
    before = contents(cast)
    for rule in readable(cast):
        client.open(path_of(cast, rule), method=method, data=FORM).close()
        assert contents(cast) == before, str(rule)


def test_head_is_get_without_a_body(cast: Flask, client: FlaskClient) -> None:
    wrong = []
    for rule in readable(cast):
        path = path_of(cast, rule)
        head, get = (client.open(path, method=method) for method in ("HEAD", "GET"))
        same = (head.status_code, head.headers.get("Location")) == (get.status_code, get.headers.get("Location"))
        if not same or head.data:
            wrong.append((path, head.status_code, get.status_code))
        head.close()
        get.close()
    assert wrong == []
