"""What the first load weighs, and how it travels: compressed, kept for ever, from nowhere else."""

import gzip
import json
import re
import time
from urllib.parse import urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.db import write
from app.eventlog.append import NewEvent
from app.infra.clock import utc_text
from app.reconciliation.models import CheckSample, Service, ServiceState
from tests.support.any_service import ANY_KIND, NOWHERE
from tests.support.cast import ALICE, logged_in, publish
from tests.web.payloads import discrepancy, update

GZIP = {"Accept-Encoding": "gzip, deflate, br", "Accept": "text/html"}
PLAIN = {"Accept-Encoding": "identity"}


def fill(app: Flask, number: int) -> None:
    """So many services, one in twelve wrong, each with an hour behind it; a list full of changes."""
    now = utc_text()
    with app.app_context(), write() as session:
        for place in range(number):
            name, wrong = f"service-{place}", place % 12 == 0
            payload = discrepancy(f"job_{place:012x}", service=name) if wrong else update(name)
            session.add(Service(id=name, name=name, kind=ANY_KIND, url=NOWHERE, origin="admin", registered_at=now))
            session.flush()
            state = ServiceState(service_id=name, version=1, status=payload["status"], payload_json=json.dumps(payload))
            state.checked_at, state.latency_ms, state.counts_only = now, place % 90, False
            session.add(state)
            counts = json.dumps({"failed": place * 7 % 40, "queued": place})
            session.add(CheckSample(service_id=name, at=now, ok=True, latency_ms=1, counts_json=counts))
    publish(app, *(NewEvent("job.failed", {"service": f"service-{n % number}", "jobId": f"j{n}"}) for n in range(50)))


def addresses(page: str) -> set[str]:
    return set(re.findall(r'<(?:script|link)[^>]+(?:src|href)="([^"]+)"', page))


@pytest.mark.parametrize(("services", "most"), [(12, 50_000), (200, 80_000)])
def test_the_first_load_is_light_and_comes_from_here(cast: Flask, services: int, most: int) -> None:
    """That the page fetches nothing else by itself is tested in tests/browser/test_first_use.py."""
    fill(cast, services)
    client = logged_in(cast, ALICE)
    page = client.get("/", headers=GZIP)
    wanted = addresses(gzip.decompress(page.data).decode())
    assert not {address for address in wanted if urlsplit(address).netloc}
    sizes = {address: len(client.get(address, headers=GZIP).data) for address in wanted}
    total = len(page.data) + sum(sizes.values())
    assert total <= most, sorted(((size, address) for address, size in sizes.items()), reverse=True)


def answer(client: FlaskClient, path: str, **headers: str) -> TestResponse:
    return client.get(path, headers={**GZIP, **headers})


def test_pages_are_compressed_for_those_who_take_it(cast: Flask) -> None:
    client = logged_in(cast, ALICE)
    packed, plain = answer(client, "/"), answer(client, "/", **PLAIN)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) == len(packed.data) < len(plain.data) / 3
    assert "Content-Encoding" not in plain.headers
    assert all("Accept-Encoding" in one.headers["Vary"] for one in (packed, plain))
    assert "Content-Encoding" not in answer(client, "/", **{"Accept-Encoding": "gzip;q=0"}).headers


def test_a_navigation_from_another_site_gets_it_plain(cast: Flask) -> None:
    client = logged_in(cast, ALICE)
    assert "Content-Encoding" not in answer(client, "/?q=guess", **{"Sec-Fetch-Site": "cross-site"}).headers
    assert "Content-Encoding" in answer(client, "/?q=guess", **{"Sec-Fetch-Site": "same-origin"}).headers


def test_the_form_token_is_signed_anew(cast: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses at a token do not add up, because its signature is another one every second."""
    client = logged_in(cast, ALICE)
    tokens = set()
    for second in (int(time.time()), int(time.time()) + 1):
        monkeypatch.setattr("itsdangerous.timed.TimestampSigner.get_timestamp", lambda _self, second=second: second)
        found = re.search(r'name="csrf-token" content="[^."]+\.([^"]+)"', client.get("/").text)
        assert found
        tokens.add(found[1])
    assert len(tokens) == 2


def test_streams_and_polled_frames_are_not_compressed(live_app: Flask) -> None:
    client = logged_in(live_app, ALICE)
    publish(live_app, *(NewEvent("test.broadcast", {"text": "x" * 500}) for _ in range(10)))
    polled = answer(client, "/api/events/frames?after=0", Accept="text/event-stream")
    assert (polled.mimetype, polled.headers.get("Content-Encoding")) == ("text/event-stream", None)


def test_an_asset_is_compressed_once_and_named_by_its_content(client: FlaskClient) -> None:
    [sheet] = [one for one in addresses(client.get("/login").text) if one.endswith("all.css")]
    packed, plain = answer(client, sheet), answer(client, sheet, **PLAIN)
    assert gzip.decompress(packed.data) == plain.data
    assert packed.mimetype == plain.mimetype == "text/css"
    assert packed.headers["Cache-Control"] == plain.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert all("Accept-Encoding" in one.headers["Vary"] for one in (packed, plain))
    assert packed.headers["ETag"] != plain.headers["ETag"]
    again = answer(client, sheet, **{"If-None-Match": packed.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert answer(client, sheet.replace("all.css", "../../pyproject.toml")).status_code == 404
