"""`/admin/services` as plain HTML: the table, the forms made from each kind, what is wrong beside its field."""

import html
import json
import re
import sys
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.audit.models import AuditRow
from app.db import read, write
from app.reconciliation import registry, service_admin, service_form
from app.reconciliation.models import Service
from app.sources import kinds
from app.sources.protocol import SourceError
from app.sources.service_config import parse_entry
from tests.reconciliation.desk import Desk
from tests.reconciliation.values import look
from tests.support.cast import ADA, ALICE, BOB, PIA, csrf_token, logged_in

URL = "http://127.0.0.1:9"
PAGE = "/admin/services"


class Browser:
    """Ada's, with scripts off."""

    def __init__(self, app: Flask) -> None:
        self.app, self.client = app, logged_in(app, ADA)

    def get(self, path: str = PAGE) -> str:
        response = self.client.get(path, headers={"Accept": "text/html"})
        assert response.status_code == 200, response.text
        return response.text

    def send(self, path: str, **form: str) -> TestResponse:
        sent = {"csrf_token": csrf_token(self.client, PAGE), **form}
        return self.client.post(path, data=sent, headers={"Accept": "text/html"})

    def row(self, service_id: str) -> Service:
        with self.app.app_context(), read() as session:
            query = sa.select(Service).options(sa.orm.undefer(Service.password)).where(Service.id == service_id)
            return session.scalars(query).one()


@pytest.fixture
def ada(cast: Flask) -> Browser:
    with cast.app_context(), write() as session:
        registry.add(session, id="mail", name="Mail & more", kind="palantir", url=URL, password="sesame")
    return Browser(cast)


def words(text: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_the_table_names_each_service_with_its_state_and_no_password(ada: Browser) -> None:
    with ada.app.app_context():
        desk = Desk("mail")
        desk.observe(look(queued=["a"]))
    text = ada.get()
    for part in ("Mail &amp; more", "palantir", URL, "#i-verified", "Verified", ">ok<", "a user"):
        assert part in text, part
    assert "sesame" not in text
    with ada.app.app_context():
        desk.observe(SourceError("answered 500"))
    assert 'title="the service answered 500">failing<' in ada.get()


def test_before_anything_is_watched_the_page_says_what_to_do(cast: Flask) -> None:
    assert "No service is watched yet. Add the first one below" in words(Browser(cast).get())


@pytest.mark.parametrize("person", [ALICE, BOB, PIA])
def test_others_get_a_page_that_says_what_they_would_need(cast: Flask, person: Any) -> None:
    client = logged_in(cast, person)
    for path in (PAGE, f"{PAGE}/mail", f"{PAGE}/mail/remove"):
        response = client.get(path, headers={"Accept": "text/html"})
        assert response.status_code == 403
        assert f"This needs the role admin; you are {person.role}." in response.text
    assert f'href="{PAGE}"' not in client.get("/").text
    sent = {"csrf_token": csrf_token(client, "/"), "id": "new", "url": URL}
    assert client.post(PAGE, data=sent).status_code == 403


def test_the_menu_of_an_administrator_leads_here(ada: Browser) -> None:
    assert f'href="{PAGE}"' in ada.get("/")


@pytest.mark.parametrize("kind", kinds.OWN_KINDS)
def test_the_form_has_a_field_for_every_key_of_the_kind(ada: Browser, kind: str) -> None:
    text = ada.get(f"{PAGE}?kind={kind}")
    named = set(re.findall(r' name="([a-z_]+)"', text.split('class="service-form"')[1].split("</form>")[0]))
    chosen = kinds.get_kind(kind)
    ours = {"csrf_token", "kind", "id", "name", "url", "password", "password_env"}
    assert named == {*ours, *chosen.options.model_fields}
    assert f'name="kind" value="{kind}"' in text
    assert f'placeholder="{chosen.url_example}"' in text


@pytest.mark.parametrize("kind", kinds.OWN_KINDS)
def test_a_form_that_is_sent_as_it_came_means_the_usual_settings(ada: Browser, kind: str) -> None:
    chosen = kinds.get_kind(kind)
    fields = service_form.build_fields(chosen, {}, {}, is_new=True)
    ticked = {field.name: "on" for field in fields if field.shape == "checkbox" and field.value}
    blank = {field.name: "" for field in fields if field.shape != "checkbox"}
    sent = ada.send(PAGE, **{**blank, **ticked, "kind": kind, "id": "new", "url": chosen.url_example})
    assert (sent.status_code, sent.headers["Location"]) == (303, f"{PAGE}#service-new"), words(sent.text)[:500]
    row = ada.row("new")
    assert (row.name, row.kind, row.origin, row.password) == ("new", kind, "admin", None)
    assert row.options_json == chosen.options().model_dump_json()


@pytest.mark.parametrize("kind", kinds.OWN_KINDS)
def test_a_service_that_is_saved_as_it_is_shown_stays_as_it_is(ada: Browser, kind: str) -> None:
    chosen = kinds.get_kind(kind)
    with ada.app.app_context(), write() as session:
        row = registry.add(session, id="new", name="New", kind=kind, url=chosen.url_example, password="sesame")
        typed = service_form.build_form_values(row)
    shown = {field.name: field.value for field in service_form.build_fields(chosen, typed, {}, is_new=False)}
    boxes = {f.name for f in service_form.build_fields(chosen, typed, {}, is_new=False) if f.shape == "checkbox"}
    sent = {name: value for name, value in shown.items() if name not in boxes or value}
    before = ada.row("new")
    assert ada.send(f"{PAGE}/new", **sent).status_code == 303
    after = ada.row("new")
    for name in ("name", "kind", "url", "options_json", "password", "password_env", "registered_at"):
        assert getattr(after, name) == getattr(before, name), name


def test_lists_numbers_and_words_arrive_as_the_kind_wants_them(ada: Browser) -> None:
    sent = ada.send(
        PAGE,
        kind="rq",
        id="jobs",
        url="redis://127.0.0.1:1/0",
        queues="mail\r\n  out \r\n\r\n",
        finished_visible_for_s="none",
        show_arguments="to, order",
    )
    assert sent.status_code == 303
    assert json.loads(ada.row("jobs").options_json) == {
        "show_arguments": ["to", "order"],
        "queues": ["mail", "out"],
        "finished_visible_for_s": "none",
        "supervised": False,
    }
    assert "mail\nout</textarea>" in ada.get(f"{PAGE}/jobs")


def test_bad_input_keeps_what_was_typed_but_the_password_and_stands_beside_its_field(ada: Browser) -> None:
    sent = ada.send(
        PAGE,
        kind="palantir",
        id="Not An Id",
        name="<b>",
        url=URL,
        password="open sesame",
        finished_visible_for_s="soon",
    )
    assert sent.status_code == 400
    assert "open sesame" not in sent.text
    for value in ("Not An Id", "&lt;b&gt;", URL, "soon"):
        assert f'value="{value}"' in sent.text, value
    assert re.search(r'id="field-id"[^>]*aria-describedby="about-id wrong-id" aria-invalid="true"', sent.text)
    assert 'id="wrong-id"' in sent.text
    assert 'id="wrong-finished_visible_for_s"' in sent.text
    assert "Nothing was changed: there are 2 errors." in words(sent.text)


def test_a_taken_id_is_said_beside_the_id(ada: Browser) -> None:
    sent = ada.send(PAGE, kind="palantir", id="mail", url="http://127.0.0.1:8")
    assert sent.status_code == 409
    assert re.search(r'id="wrong-id"[^>]*>is taken', sent.text)
    assert 'value="http://127.0.0.1:8"' in sent.text


def test_a_kind_that_cannot_be_loaded_is_shown_disabled_with_the_reason(
    ada: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "app.sources.rq", None)
    for kept in (kinds.get_kind, kinds._load_own):
        kept.cache_clear()
    try:
        text = ada.get(f"{PAGE}?kind=rq")
        assert 'aria-disabled="true">rq<' in text
        assert "cannot be used here: ModuleNotFoundError" in words(text)
        assert "There is no usable kind “rq”" in words(text)
        assert ada.send(PAGE, kind="rq", id="new", url="redis://127.0.0.1").status_code == 400
    finally:
        for kept in (kinds.get_kind, kinds._load_own):
            kept.cache_clear()


def test_an_edit_changes_what_was_changed_and_keeps_the_password_or_removes_it(ada: Browser) -> None:
    text = ada.get(f"{PAGE}/mail")
    assert "Password: kept" in words(text)
    assert "sesame" not in text
    assert ada.send(f"{PAGE}/mail", name="Post", url=URL, password="").status_code == 303
    assert (ada.row("mail").name, ada.row("mail").password) == ("Post", "sesame")
    bad = ada.send(f"{PAGE}/mail", name="Letters", url="gopher://x", password="open")
    assert bad.status_code == 400
    assert 'value="Letters"' in bad.text
    assert 'id="wrong-url"' in bad.text
    assert ada.send(f"{PAGE}/mail", name="Post", url=URL, remove_password="on").status_code == 303
    assert ada.row("mail").password is None


def test_what_the_file_names_is_shown_and_cannot_be_changed(ada: Browser) -> None:
    with ada.app.app_context(), write() as session:
        service_admin.sync_from_file(session, [parse_entry({"id": "filed", "url": URL})])
    text = ada.get(f"{PAGE}/filed")
    assert 'disabled aria-describedby="file-rules"' in text
    assert f"{PAGE}/filed/remove" not in ada.get()
    for path in (f"{PAGE}/filed", f"{PAGE}/filed/remove"):
        assert ada.send(path, name="X", url=URL).status_code == 409
    assert "disabled>Remove filed" in ada.get(f"{PAGE}/filed/remove")
    assert ada.row("filed").name == "filed"


def test_removing_names_what_is_forgotten_and_what_stays_and_then_does_it(ada: Browser) -> None:
    with ada.app.app_context():
        desk = Desk("mail")
        desk.observe(look(queued=["a", "b", "c"]))
        desk.observe(look(queued=["a", "b"]))
    text = words(ada.get(f"{PAGE}/mail/remove"))
    for part in ("2 known jobs", "its password (kept)", "1 open item is closed", "2 changes of its state", "the audit"):
        assert part in text, part
    assert ada.send(f"{PAGE}/mail/remove").headers["Location"] == PAGE
    assert "Mail" not in words(ada.get().split("<main")[1].split('id="add"')[0])
    assert ada.send(f"{PAGE}/mail/remove").status_code == 404
    with ada.app.app_context(), read() as session:
        kinds_of = list(session.scalars(sa.select(AuditRow.action_type).where(AuditRow.actor == "ada")))
    assert kinds_of == ["login", "service-remove"]


def test_a_form_without_its_token_changes_nothing(ada: Browser) -> None:
    client: FlaskClient = ada.client
    for path in (PAGE, f"{PAGE}/mail", f"{PAGE}/mail/remove"):
        assert client.post(path, data={"id": "new", "url": URL}).status_code == 400
    assert ada.row("mail").removed_at is None


def test_the_page_never_loads_itself_again_under_somebody_who_types(ada: Browser) -> None:
    assert "http-equiv" not in ada.get(f"{PAGE}?refresh=10")


def test_nothing_in_these_pages_is_inline(ada: Browser) -> None:
    for path in (PAGE, f"{PAGE}?kind=celery", f"{PAGE}/mail", f"{PAGE}/mail/remove"):
        assert not re.search(r'<style|\sstyle="|\son\w+="|<script(?![^>]*\ssrc=)', ada.get(path))


def test_a_password_is_told_by_where_it_comes_from(ada: Browser) -> None:
    with ada.app.app_context(), write() as session:
        service_admin.change(session, "mail", {"password_env": "BEACON_SOURCE_MAIL"}, "test")
    assert "Password: from the environment variable BEACON_SOURCE_MAIL" in words(ada.get(f"{PAGE}/mail"))


def test_a_form_with_a_new_address_asks_for_the_password_again(ada: Browser) -> None:
    with ada.app.app_context(), write() as session:
        service_admin.change(session, "mail", {"password": "sesame"}, "test")
    moved = {"name": "Mail", "url": "http://127.0.0.1:8", "finished_visible_for_s": "lookup"}
    answer = ada.send(f"{PAGE}/mail", **moved)
    assert answer.status_code == 400
    assert "a new address needs the password again" in words(answer.text)
    assert ada.send(f"{PAGE}/mail", **moved, remove_password="on").status_code == 303
    assert ada.row("mail").password is None


def test_a_service_whose_variable_the_host_keeps_says_so_on_its_page(ada: Browser) -> None:
    with ada.app.app_context(), write() as session:
        row = session.get(Service, "mail")
        assert row is not None
        row.password_env = "OLD_NAME"
    assert "Its password is not sent: give the variable a name that begins with BEACON_SOURCE_" in words(
        ada.get(f"{PAGE}/mail")
    )


def proof(text: str) -> str:
    return text.split('name="expected" value="')[1].split('"', maxsplit=1)[0]


def bea_changes(ada: Browser, **given: Any) -> None:
    with ada.app.app_context(), write() as session:
        service_admin.change(session, "mail", given, "bea")


EDITED = {"name": "Letters", "url": URL, "finished_visible_for_s": "60"}


def test_two_who_edit_the_same_service_do_not_overwrite_each_other(ada: Browser) -> None:
    seen = proof(ada.get(f"{PAGE}/mail"))
    bea_changes(ada, url="http://127.0.0.1:8", password="hers")
    sent = ada.send(f"{PAGE}/mail", **EDITED, password="my own", remove_password="on", expected=seen)
    said = words(sent.text)
    assert sent.status_code == 409
    assert (ada.row("mail").name, ada.row("mail").url) == ("Mail & more", "http://127.0.0.1:8")
    assert "Nothing was saved: Mail & more was changed after you opened this form." in said
    assert "bea changed url and password, " in said
    assert f"url from {URL} to http://127.0.0.1:8" in said
    assert "Current value: http://127.0.0.1:8" in said
    assert "Current value: Mail & more" in said
    for value in ("Letters", URL, "60"):
        assert f'value="{value}"' in sent.text, value
    assert "hers" not in sent.text
    assert "my own" not in sent.text
    assert 'name="remove_password" checked' in sent.text
    assert proof(sent.text) == seen, "nobody has seen it by pressing"
    assert ada.send(f"{PAGE}/mail", **EDITED, expected=proof(sent.text)).status_code == 409


def test_who_has_seen_what_stands_now_saves_over_it_and_over_nothing_later(ada: Browser) -> None:
    seen = proof(ada.get(f"{PAGE}/mail"))
    bea_changes(ada, name="Post")
    sent = ada.send(f"{PAGE}/mail", **EDITED, expected=seen)
    over = sent.text.split('name="over" value="')[1].split('"')[0]
    bea_changes(ada, name="Post office")
    assert ada.send(f"{PAGE}/mail", **EDITED, expected=seen, over=over).status_code == 409
    over = proof(ada.get(f"{PAGE}/mail"))
    slipped = ada.send(f"{PAGE}/mail", **{**EDITED, "url": "gopher://x"}, expected=seen, over=over)
    assert (slipped.status_code, proof(slipped.text)) == (400, over)
    assert ada.send(f"{PAGE}/mail", **EDITED, expected=seen, over=over).status_code == 303
    assert ada.row("mail").name == "Letters"


def test_a_mistyped_value_comes_back_with_what_its_press_had_seen(ada: Browser) -> None:
    seen = proof(ada.get(f"{PAGE}/mail"))
    bea_changes(ada, name="Post")
    slipped = ada.send(f"{PAGE}/mail", **{**EDITED, "url": "gopher://x"}, expected=seen)
    assert (slipped.status_code, proof(slipped.text)) == (400, seen)
    assert ada.send(f"{PAGE}/mail", **EDITED, expected=seen).status_code == 409
    assert ada.row("mail").name == "Post"


def test_a_change_and_its_way_back_were_not_seen_either(ada: Browser) -> None:
    seen = proof(ada.get(f"{PAGE}/mail"))
    bea_changes(ada, name="Post")
    bea_changes(ada, name="Mail & more")
    assert "There are 1 more" not in ada.send(f"{PAGE}/mail", **EDITED, expected=seen).text
    assert ada.row("mail").name == "Mail & more"


def test_what_was_typed_is_not_lost_where_the_service_was_removed(ada: Browser) -> None:
    seen = proof(ada.get(f"{PAGE}/mail"))
    with ada.app.app_context(), write() as session:
        service_admin.remove(session, "mail", "bea")
    sent = ada.send(f"{PAGE}/mail", **EDITED, expected=seen)
    said = words(sent.text)
    assert sent.status_code == 404
    assert "Mail & more was removed after you opened this form. bea removed it, " in said
    assert 'value="Letters"' in sent.text
    assert ">Save<" not in sent.text
    assert ada.row("mail").removed_at is not None


def test_a_service_that_changed_is_not_removed_unseen(ada: Browser) -> None:
    seen = proof(ada.get(f"{PAGE}/mail/remove"))
    bea_changes(ada, name="Post")
    sent = ada.send(f"{PAGE}/mail/remove", expected=seen)
    assert sent.status_code == 409
    assert "Nothing was removed: Post was changed after you opened this page. bea changed name" in words(sent.text)
    assert (proof(sent.text), "Remove Post</button>" in sent.text) == (seen, False)
    assert ada.row("mail").removed_at is None
    assert ada.send(f"{PAGE}/mail/remove", expected=proof(ada.get(f"{PAGE}/mail/remove"))).status_code == 303


def test_what_is_no_revision_is_said_and_changes_nothing(ada: Browser) -> None:
    for wrong in ("x", "-1", "1" * 40):
        assert ada.send(f"{PAGE}/mail", **EDITED, expected=wrong).status_code == 400
    sent = ada.send(f"{PAGE}/mail", **EDITED, expected="999999")
    assert (sent.status_code, "The service never had this revision." in words(sent.text)) == (409, True)
    assert ada.send(f"{PAGE}/mail/remove", expected="999999").status_code == 409
    assert ada.row("mail").name == "Mail & more"


def test_the_file_that_takes_a_service_over_leaves_what_was_typed(ada: Browser) -> None:
    seen = proof(ada.get(f"{PAGE}/mail"))
    with ada.app.app_context(), write() as session:
        service_admin.sync_from_file(session, [parse_entry({"id": "mail", "url": URL})])
    sent = ada.send(f"{PAGE}/mail", **EDITED, expected=seen)
    assert (sent.status_code, 'value="Letters"' in sent.text) == (409, True)
    assert "the services file changed name" in words(sent.text)
