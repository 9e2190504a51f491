"""The page of the audit says no more than is known: what changed, how many there are, how many are new."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.audit import chain
from app.db import write
from app.web.audit.views import EntryRow
from tests.support.cast import ALICE, logged_in

HTML = {"Accept": "text/html"}


def record(app: Flask, number: int, actor: str = "bob") -> None:
    with app.app_context(), write() as session:
        for n in range(number):
            chain.record(session, chain.Entry(actor, "retry-job", "mail", params={"why": f"note-{n}"}))


@pytest.fixture
def reader(cast: Flask) -> FlaskClient:
    record(cast, 12)
    return logged_in(cast, ALICE)


def page(reader: FlaskClient, address: str) -> str:
    answer = reader.get(address, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def later(reader: FlaskClient, address: str) -> str:
    """The page behind the one at `address`."""
    link = re.search(r'href="([^"]+)" rel="next"', page(reader, address))
    assert link
    return link[1].replace("&amp;", "&")


def fitting(text: str) -> str | None:
    found = re.search(r' data-fitting="(\d+)"', text)
    return found[1] if found else None


@pytest.mark.parametrize(
    ("before", "after", "params", "gist"),
    [
        ({"kind": "palantir", "name": "Mail"}, {"kind": "palantir", "name": "Post"}, {}, "name: Mail → Post"),
        (None, {"kind": "rq"}, {}, "kind: — → rq"),
        ({"instance": "7f3", "state": "failed"}, {"done": "1", "state": "queued"}, {}, "state: failed → queued"),
        ({"instance": "7f3"}, {"done": "1"}, {}, "done: — → 1"),
        ({"kind": "rq"}, {"kind": "rq"}, {"why": "by hand"}, "why: by hand"),
        ({"kind": "rq"}, {"kind": "rq"}, {}, "Nothing changed"),
        (None, None, {}, "Entry 7"),
    ],
)
def test_a_closed_entry_says_what_changed_first(
    before: dict[str, str] | None, after: dict[str, str] | None, params: dict[str, str], gist: str
) -> None:
    entry = {"seq": 7, "outcome": "success", "stage": "result", "commandParams": params}
    assert EntryRow.from_entry({**entry, "beforeState": before, "afterState": after}).summary == gist


def test_a_search_is_sorted_by_time_alone_and_its_other_heads_are_no_links(reader: FlaskClient) -> None:
    heads = re.findall(r'id="sort-(\w+)"', page(reader, "/audit"))
    assert heads == ["timestamp", "outcome", "actionType", "target", "actor"]
    assert re.findall(r'id="sort-(\w+)"', page(reader, "/audit?q=note&sortBy=actor")) == ["timestamp"]


def test_a_page_of_a_search_counts_itself_and_not_all_that_fits(reader: FlaskClient) -> None:
    address = "/audit?q=note&limit=10"
    assert "10 entries on this page<" in page(reader, address)
    assert "2 entries on this page, the last one<" in page(reader, later(reader, address))
    assert ">12 entries<" in page(reader, "/audit?q=note")


def test_on_a_later_page_only_what_fits_is_new(cast: Flask, reader: FlaskClient) -> None:
    everything, filtered, searched = (later(reader, f"/audit?limit=5{more}") for more in ("", "&actor=bob", "&q=note"))
    before = [int(fitting(page(reader, one)) or 0) for one in (everything, filtered)]
    record(cast, 3, "carol")
    record(cast, 1, "bob")
    after = [int(fitting(page(reader, one)) or 0) for one in (everything, filtered)]
    assert [now - was for was, now in zip(before, after, strict=True)] == [4, 1]
    assert fitting(page(reader, searched)) is None


def test_the_days_of_the_filter_say_that_they_are_utc(reader: FlaskClient) -> None:
    assert re.findall(r"<label>((?:From|To)[^<]*) <input", page(reader, "/audit")) == ["From (UTC)", "To (UTC)"]


def test_the_form_keeps_the_command_that_an_address_asked_for(reader: FlaskClient) -> None:
    assert 'name="commandId" value="c1"' in page(reader, "/audit?commandId=c1")
    assert 'name="commandId"' not in page(reader, "/audit")
