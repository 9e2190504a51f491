"""What a browser may keep: nothing of what a person sees, and static files for ever."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.cast import ADA, ALICE, logged_in
from tests.test_safe_methods import path_of, readable

HTML = {"Accept": "text/html"}
# Nothing of a person: files, and the empty shell of a widget.
KEPT = ("/static/", "/widgets/notifications")


@pytest.mark.parametrize("headers", [HTML, {"Accept": "application/json"}, {**HTML, "HX-Request": "true"}], ids=str)
def test_no_browser_keeps_what_a_person_sees(cast: Flask, headers: dict[str, str]) -> None:
    """Else the page stands in the browser's caches after the logout, and Back shows it to whoever sits there then."""
    client, kept = logged_in(cast, ADA), {}
    for rule in readable(cast):
        path = path_of(cast, rule)
        if path.startswith(KEPT):
            continue
        answer = client.get(path, headers=headers)
        if "no-store" not in answer.headers.get("Cache-Control", ""):
            kept[path] = answer.headers.get("Cache-Control")
        answer.close()
    assert kept == {}


def test_nor_what_the_anonymous_are_sent_to_instead(cast: Flask) -> None:
    client = cast.test_client()
    for path in ("/", "/login", "/nothing/here"):
        assert "no-store" in client.get(path, headers=HTML).headers["Cache-Control"], path


def asset(client: FlaskClient) -> str:
    page = client.get("/", headers=HTML).text
    return page.split('src="', 1)[1].split('"', 1)[0]


def test_static_files_are_the_same_for_everybody_and_kept_for_ever(cast: Flask) -> None:
    client = logged_in(cast, ALICE)
    answer = client.get(asset(client))
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]
    assert "Cookie" not in answer.headers.get("Vary", "")
