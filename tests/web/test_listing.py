"""Links of lists: sortable heads, addresses without empty parameters, and redirects that stay on this site."""

from collections.abc import Iterator

import pytest
from flask import Flask

from app.web.listing import Column, Order, build_column, build_url
from app.web.page_address import local_path


@pytest.mark.parametrize(
    ("order", "first", "expected"),
    [
        (None, "desc", ("desc", None, "")),
        (None, "asc", ("asc", None, "")),
        ("asc", "desc", ("desc", "ascending", "↑")),
        ("desc", "asc", ("asc", "descending", "↓")),
    ],
)
def test_a_click_reverses_the_sorted_column_and_begins_another_as_it_says(
    order: Order | None, first: Order, expected: tuple[str, str | None, str]
) -> None:
    assert build_column("Time", order, first, lambda order: order) == Column("Time", *expected)


def test_an_address_holds_only_what_has_a_value() -> None:
    assert build_url("/audit", {"q": "a b", "actor": "", "page": None, "limit": 10}) == "/audit?q=a+b&limit=10"
    assert build_url("/audit", {"q": ""}) == "/audit"


@pytest.fixture
def bare_request(bare: Flask) -> Iterator[None]:
    with bare.test_request_context():
        yield


@pytest.mark.usefixtures("bare_request")
@pytest.mark.parametrize("target", ["", "audit", "//evil.example", "/\\evil.example", "https://evil.example", "/a\nb"])
def test_a_redirect_stays_on_this_site(target: str) -> None:
    assert local_path(target) == "/"
    assert local_path(target, "/notifications") == "/notifications"


@pytest.mark.usefixtures("bare_request")
def test_a_redirect_keeps_a_path_with_its_query() -> None:
    assert local_path("/audit?q=x#row-1") == "/audit?q=x#row-1"
