"""Beacon below a path prefix: no address leaves it, and what comes back is understood."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.config import ConfigError, Settings, load_settings
from app.eventlog.append import NewEvent
from app.web.path_prefix import MAX_PREFIXES
from tests.support.cast import ADA, ALICE, BOB, PASSWORD, csrf_token, headers_of, log_in, log_out, publish
from tests.web.payloads import discrepancy
from tests.web.test_pages import watch
from tests.web.test_unknown_is_not_zero import COMMAND, addresses, commanded

PREFIX = "/ops/beacon"
# What these hold is text, or is read by nobody but the server.
NO_ADDRESSES = {"value", "title", "content", "placeholder", "data-root", "d"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"trusted_proxies": ("127.0.0.1/32",), "widget_origins": ("https://x.example",)})


def behind_proxy(app: Flask, prefix: str = PREFIX) -> FlaskClient:
    """A browser whose proxy takes the prefix off the path, as most do."""
    client = app.test_client()
    client.environ_base["HTTP_X_FORWARDED_PREFIX"] = prefix
    return client


@pytest.fixture
def client(cast: Flask) -> FlaskClient:
    return behind_proxy(cast)


class Addresses(HTMLParser):
    """Every attribute that begins as an address of this host does."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name not in NO_ADDRESSES and value and value.startswith("/"):
                self.found.append(value)


def outside(html: str) -> list[str]:
    return [address for address in Addresses(html).found if not address.startswith(f"{PREFIX}/")]


def pages(app: Flask) -> Iterator[str]:
    yield from ("/login", "/?view=table", "/discrepancies", "/trends", "/cost", "/search?q=mail", "/nowhere")
    yield from (f"/admin/services/{end}" for end in ("mail", "mail/remove", "nothing"))
    yield from addresses(app)


def test_no_address_in_any_page_leaves_the_prefix(cast: Flask, client: FlaskClient) -> None:
    watch(cast, "mail", discrepancy("job_1"), "job_1")
    commanded(cast)
    publish(cast, NewEvent("job.failed", {"service": "mail", "jobId": "job_1"}))
    anonymous = client.get("/login", headers={"Accept": "text/html"})
    assert outside(anonymous.text) == []
    assert log_in(client, ADA).headers["Location"] == f"{PREFIX}/"
    seen, wrong = set(), {}
    for path in pages(cast):
        answer = client.get(path, headers={"Accept": "text/html"})
        if answer.mimetype == "text/html":
            seen.add(path)
            wrong |= {path: left} if (left := outside(answer.text)) else {}
        elif location := answer.headers.get("Location"):
            assert location.startswith(f"{PREFIX}/"), path
        answer.close()
    assert wrong == {}
    assert {"/", "/audit", "/rollout", "/services/mail", f"/commands/{COMMAND}", "/widgets/notifications"} <= seen


def test_what_a_page_loads_is_there_below_the_prefix_and_scripts_are_told_it(client: FlaskClient) -> None:
    page = client.get("/login").text
    assert f'<body data-root="{PREFIX}"' in page
    loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="([^"]+)"', page)
    assert loaded
    for address in loaded:
        assert client.get(address.removeprefix(PREFIX)).status_code == 200


def test_a_page_without_a_prefix_says_nothing_of_one(cast: Flask) -> None:
    assert "data-root" not in cast.test_client().get("/login").text


@pytest.mark.parametrize("path", [f"{PREFIX}/login", "/login"])
def test_a_proxy_may_pass_the_path_on_as_it_came_or_without_the_prefix(client: FlaskClient, path: str) -> None:
    assert 'action="/ops/beacon/login"' in client.get(path).text


def test_the_setting_stands_for_a_proxy_that_sends_no_prefix(cast: Flask, settings: Settings) -> None:
    cast.extensions["beacon"].settings = settings.model_copy(update={"path_prefix": "/beacon"})
    client = cast.test_client()
    assert 'action="/beacon/login"' in client.get("/beacon/login").text
    client.environ_base["HTTP_X_FORWARDED_PREFIX"] = "/other"
    assert 'action="/beacon/login"' in client.get("/login").text, "the proxy may pass on what a client sends"


@pytest.mark.parametrize(("text", "value"), [("/beacon/", "/beacon"), ("/", ""), ("/a/b-1", "/a/b-1")])
def test_the_setting_is_a_path(monkeypatch: pytest.MonkeyPatch, text: str, value: str) -> None:
    monkeypatch.setenv("BEACON_PATH_PREFIX", text)
    assert load_settings().path_prefix == value


@pytest.mark.parametrize("text", ["beacon", "//evil.example", "/a/../b", "/a b", "/" + "a" * 200])
def test_a_setting_that_is_no_path_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("BEACON_PATH_PREFIX", text)
    with pytest.raises(ConfigError, match="BEACON_PATH_PREFIX"):
        load_settings()


def test_a_login_goes_on_to_the_page_that_was_asked_for_whoever_names_it(cast: Flask, client: FlaskClient) -> None:
    sent = client.get("/audit?actor=bob", headers={"Accept": "text/html"})
    assert sent.headers["Location"] == f"{PREFIX}/login?next=/audit?actor%3Dbob"
    for named in ("/audit?actor=bob", f"{PREFIX}/audit?actor=bob"):  # as the server says it, as a script does
        answer = log_in(behind_proxy(cast), ALICE, next_=named)
        assert answer.headers["Location"] == f"{PREFIX}/audit?actor=bob"
    answer = log_in(behind_proxy(cast), ALICE, next_=f"{PREFIX}//evil.example")
    assert answer.headers["Location"] == f"{PREFIX}/"


@pytest.mark.parametrize("path", ["/services//mail?a=b", f"{PREFIX}/services//mail?a=b"])
def test_doubled_slashes_are_merged_below_the_prefix(client: FlaskClient, path: str) -> None:
    assert client.get(path).headers["Location"] == f"{PREFIX}/services/mail?a=b"


def test_a_logout_ends_below_the_prefix(client: FlaskClient) -> None:
    log_in(client, ALICE)
    assert log_out(client).headers["Location"] == f"{PREFIX}/login"


@pytest.mark.parametrize(
    ("secure", "prefix", "name"),
    [
        (True, PREFIX, "__Host-beacon.ops.beacon"),
        (True, "", "__Host-beacon"),
        (False, PREFIX, "beacon.ops.beacon"),
        (False, "", "beacon"),
    ],
)
def test_two_beacons_on_one_host_keep_a_login_each(cast: Flask, secure: bool, prefix: str, name: str) -> None:
    client = behind_proxy(cast, prefix)
    client.environ_base["HTTP_X_FORWARDED_PROTO"] = "https" if secure else "http"
    form = {"csrf_token": csrf_token(client), "username": ALICE.name, "password": PASSWORD}
    answer = client.post("/login", data=form, headers={"Origin": "https://localhost"})
    cookies = {line.split("=")[0]: line for line in answer.headers.getlist("Set-Cookie")}
    assert set(cookies) == {name, name.replace("beacon", "beacon-browser", 1)}
    for line in cookies.values():
        assert "Path=/" in re.split(r";\s*", line), "__Host- needs it"


def test_a_refused_form_is_kept_for_its_page_below_the_prefix(cast: Flask, client: FlaskClient) -> None:
    log_in(client, BOB)
    client.get("/notifications")
    headers = {"Referer": f"http://localhost{PREFIX}/notifications", "Accept": "text/html"}
    refused = client.post("/notifications", data={"csrf_token": "old", "text": "Deploy at 3"}, headers=headers)
    assert f'href="{PREFIX}/notifications"' in refused.text
    assert "Deploy at 3" in client.get("/notifications", headers={"Accept": "text/html"}).text
    elsewhere = client.post(
        "/notifications",
        data={"csrf_token": "old", "text": "Deploy at 3"},
        headers={**headers, "Referer": "http://localhost/grafana"},
    )
    assert "is kept" not in elsewhere.text, "another application on this host is no page of Beacon"


def test_frames_lead_where_their_reader_is(live_app: Flask) -> None:
    watch(live_app, "mail", discrepancy("job_1"), "job_1")
    first = publish(live_app, NewEvent("reconciliation.update", discrepancy("job_1")))[0] - 1
    headers = {**headers_of(live_app, ALICE, "read", "stream"), "Last-Event-ID": str(first)}
    for prefix in (PREFIX, "", PREFIX):
        text = behind_proxy(live_app, prefix).get(f"/api/events/frames?after={first}", headers=headers).text
        assert f'href="{prefix}/services/mail' in text
        assert (PREFIX in text) == bool(prefix)


def test_formats_are_shared_and_few(app: Flask) -> None:
    formats = app.extensions["beacon"].html_formats
    assert formats("/a") is formats("/a")
    assert formats("/a") is not formats("/b")
    kept = formats("")
    for number in range(3 * MAX_PREFIXES):
        formats(f"/p{number}")
    assert formats("") is kept


def test_an_api_answer_names_its_new_resource_below_the_prefix(cast: Flask) -> None:
    headers = headers_of(cast, ADA, "admin")
    body = {"id": "mail", "name": "Mail", "kind": "palantir", "url": "http://127.0.0.1:9"}
    made = behind_proxy(cast).post("/services", json=body, headers=headers)
    assert (made.status_code, made.headers.get("Location")) == (201, f"{PREFIX}/services/mail"), made.text
