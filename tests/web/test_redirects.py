"""No redirect leads to a host that the request itself named."""

import itertools

import pytest
from flask import Flask

from tests.support.cast import ALICE, logged_in
from tests.test_permissions import VALUES

HOSTS = ["evil.example", "evil.example:8443", "localhost", "evil.example.", "[::1]", "xn--nxasmq6b.example"]
NO_HOSTS = ["evil/..", "a b", "evil:99999", 'x"y', "a@evil.example", "evil\\x", "[::1", "é", "a,b"]
ODD = [
    "//evil.example", "//evil.example//audit", "///audit", "/audit//head", "//audit//", "/services//x//jobs",
    "/.//audit", "/audit/", "/login/", "/%2F%2Fevil.example", "/\\evil.example", "//\\evil.example//audit//head",
    "/audit//head?next=//evil.example", "/services//%2Fevil.example", "/services//evil.example%2F..",
    "/@evil.example//x",
]  # fmt: skip


def odd_paths(app: Flask) -> set[str]:
    """Every route with a slash doubled at each place, and one more at the end."""
    found = set(ODD)
    with app.test_request_context():
        for rule in app.url_map.iter_rules():
            built = rule.build({name: VALUES.get(name, "nothing") for name in rule.arguments})
            assert built
            parts = built[1].split("/")[1:]
            for place in range(len(parts)):
                found.add("/" + "/".join([*parts[:place], "", *parts[place:]]))
            found.add(built[1] + "/")
    return found


def test_no_redirect_takes_its_host_from_the_request(cast: Flask) -> None:
    browsers = [cast.test_client(), logged_in(cast, ALICE)]
    seen = 0
    for browser, path, host in itertools.product(browsers, sorted(odd_paths(cast)), HOSTS[:2]):
        for accept in ("text/html", "application/json"):
            answer = browser.get(path, headers={"Host": host, "Accept": accept})
            location = answer.headers.get("Location")
            answer.close()
            if location is not None:
                seen += 1
                assert location.startswith("/"), (path, location)
                assert not location.startswith(("//", "/\\")), (path, location)
    assert seen > 100


@pytest.mark.parametrize("host", HOSTS)
def test_slashes_are_merged_on_the_host_that_was_asked(cast: Flask, host: str) -> None:
    answer = cast.test_client().get("/audit//head?a=%2F&b", headers={"Host": host})
    assert (answer.status_code, answer.headers["Location"]) == (308, "/audit/head?a=%2F&b")


@pytest.mark.parametrize("host", NO_HOSTS)
def test_a_host_that_is_none_is_refused(cast: Flask, host: str) -> None:
    answer = cast.test_client().get("/audit//head", environ_overrides={"HTTP_HOST": host})
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert "Location" not in answer.headers
