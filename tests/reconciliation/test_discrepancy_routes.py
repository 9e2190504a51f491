"""The record of discrepancies and the list of services: pages, filters, and refusals that name the field."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.db import write
from app.reconciliation.models import DiscrepancyEvent
from app.sources.protocol import SourceError
from tests.reconciliation.desk import Desk
from tests.reconciliation.values import look
from tests.support.cast import ALICE, headers_of

PATH = "/reconciliation/discrepancies"
STATUSES = ("verified", "stale", "discrepancy")


@pytest.fixture
def recorded(believing: Flask) -> Flask:
    """Thirty rows: one an hour on the 20th from 00:00 on, then six on the 21st; mail and billing take turns."""
    with believing.app_context(), write() as session:
        rows = [
            {
                "id": f"e{n:02}",
                "timestamp": f"2026-11-{20 + n // 24}T{n % 24:02}:00:00.000Z",
                "service": "mail" if n % 2 == 0 else "billing",
                "status": STATUSES[n % 3],
                "counts_json": '{"queued": 1}',
                "checksum": "c0ffee",
                "latency_ms": 100 - n,
                "discrepancy_details_json": '{"expected": 1, "actual": 0, "missingJobIds": ["x"]}'
                if n % 3 == 2
                else None,
            }
            for n in range(30)
        ]
        session.execute(sa.insert(DiscrepancyEvent), rows)
    return believing


def get(app: Flask, **query: Any) -> TestResponse:
    return app.test_client().get(PATH, query_string=query, headers=headers_of(app, ALICE, "read"))


def ids(app: Flask, **query: Any) -> list[str]:
    return [row["id"] for row in get(app, **query).get_json()["data"]]


def test_the_newest_come_first_and_a_row_says_everything(recorded: Flask) -> None:
    body = get(recorded).get_json()
    assert [row["id"] for row in body["data"]] == [f"e{n:02}" for n in reversed(range(30))]
    assert body["meta"] == {"page": 1, "limit": 50, "total": 30, "totalPages": 1}
    assert body["data"][0] == {
        "id": "e29",
        "timestamp": "2026-11-21T05:00:00.000Z",
        "service": "billing",
        "status": "discrepancy",
        "counts": {"queued": 1},
        "checksum": "c0ffee",
        "latencyMs": 71,
        "discrepancyDetails": {"expected": 1, "actual": 0, "missingJobIds": ["x"]},
        "reason": None,
        "findings": [],
        "episode": "e29",
    }
    assert body["data"][1]["discrepancyDetails"] is None


def test_pages_together_hold_every_row_once(recorded: Flask) -> None:
    pages = [ids(recorded, page=page, limit=8) for page in (1, 2, 3, 4, 5)]
    assert [len(page) for page in pages] == [8, 8, 8, 6, 0]
    assert len({row for page in pages for row in page}) == 30
    assert get(recorded, limit=8).get_json()["meta"]["totalPages"] == 4


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "stale", "service": "mail"}, ["e28", "e22", "e16", "e10", "e04"]),
        ({"startDate": "2026-11-21"}, [f"e{n}" for n in (29, 28, 27, 26, 25, 24)]),
        ({"startDate": "2026-11-21", "endDate": "2026-11-21"}, [f"e{n}" for n in (29, 28, 27, 26, 25, 24)]),
        ({"endDate": "2026-11-20T02:00:00Z"}, ["e01", "e00"]),
        ({"endDate": "2026-11-20T03:00:00+01:00"}, ["e01", "e00"]),
        ({"sortBy": "latencyMs", "sortOrder": "asc", "limit": 2}, ["e29", "e28"]),
        ({"sortBy": "timestamp", "sortOrder": "asc", "limit": 2}, ["e00", "e01"]),
        ({"sortBy": "service", "sortOrder": "asc", "limit": 2}, ["e01", "e03"]),
        ({"sortBy": "status", "limit": 2}, ["e27", "e24"]),
        ({"service": "nowhere"}, []),
        ({"status": "", "page": ""}, [f"e{n:02}" for n in reversed(range(30))]),
        ({"service": "' OR 1=1 --"}, []),
    ],
)
def test_filters_and_orders(recorded: Flask, query: dict[str, Any], expected: list[str]) -> None:
    assert ids(recorded, **query) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("page", value) for value in ("0", "-1", "one", "1.5", "99999999999999999999")),
        *(("limit", value) for value in ("0", "501", "x")),
        ("sortBy", "counts"),
        ("sortOrder", "up"),
        ("status", "fine"),
        ("startDate", "yesterday"),
        ("startDate", "2026-13-01"),
        ("endDate", "9999-12-31"),
        ("service", "x" * 201),
    ],
)
def test_a_bad_value_is_named(recorded: Flask, name: str, value: str) -> None:
    response = get(recorded, **{name: value})
    assert (response.status_code, response.mimetype) == (400, "application/problem+json")
    assert list(response.get_json()["errors"]) == [name]


@pytest.mark.parametrize("path", [PATH, "/services/registered"])
def test_reading_needs_a_login_and_the_scope(believing: Flask, path: str) -> None:
    client = believing.test_client()
    assert client.get(path).status_code == 401
    assert client.get(path, headers=headers_of(believing, ALICE, "stream")).status_code == 403
    assert client.get(path, headers=headers_of(believing, ALICE, "read")).status_code == 200


def registered(app: Flask) -> dict[str, Any]:
    [found] = app.test_client().get("/services/registered", headers=headers_of(app, ALICE, "read")).get_json()
    return dict(found)


def test_a_registered_service_is_unknown_until_it_was_looked_at(believing: Flask) -> None:
    found = registered(believing)
    assert (found["id"], found["name"], found["type"]) == ("mail", "Mail", "palantir")
    assert found["healthEndpoint"] == "http://127.0.0.1:1/api/v1/health"
    assert (found["health"], found["status"], found["lastVerifiedAt"]) == ("unknown", None, None)
    assert set(found) == {
        *("id", "name", "type", "healthEndpoint", "registeredAt", "metadata", "health", "status", "lastVerifiedAt"),
        *("reason", "silentSince", "capabilities", "revision"),
    }


def test_its_health_and_state_are_those_of_the_newest_poll(believing: Flask) -> None:
    with believing.app_context():
        desk = Desk()
        desk.observe(look())
    assert (registered(believing)["health"], registered(believing)["status"]) == ("ok", "verified")
    assert registered(believing)["lastVerifiedAt"] is not None
    with believing.app_context():
        desk.observe(SourceError("answered 500"))
    assert (registered(believing)["health"], registered(believing)["status"]) == ("failing", "verified")
