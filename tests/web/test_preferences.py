"""The theme: chosen by a form, kept in a cookie, there in the first byte of every page."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.cast import ALICE, csrf_token, logged_in


def choose(client: FlaskClient, theme: str, target: str = "/") -> str:
    data = {"theme": theme, "next": target, "csrf_token": csrf_token(client, "/")}
    response = client.post("/theme", data=data)
    assert response.status_code == 303
    return response.headers["Location"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_chosen_theme_stands_on_every_page_at_once(cast: Flask, theme: str) -> None:
    client = logged_in(cast, ALICE)
    assert choose(client, theme, "/?q=x") == "/?q=x"
    pages = [client.get("/").text, client.get("/services/nope", headers={"Accept": "text/html"}).text]
    client.post("/logout", data={"csrf_token": csrf_token(client, "/")})
    assert all(f'<html lang="en" data-theme="{theme}"' in page for page in [*pages, client.get("/login").text])


def test_the_system_decides_unless_somebody_chose(cast: Flask) -> None:
    client = logged_in(cast, ALICE)
    assert "data-theme" not in client.get("/").text
    choose(client, "dark")
    choose(client, "system")
    assert "data-theme" not in client.get("/").text


def test_a_forged_cookie_is_no_theme(cast: Flask) -> None:
    client = logged_in(cast, ALICE)
    client.set_cookie("beacon_theme", 'x" onload="')
    assert "data-theme" not in client.get("/").text


@pytest.mark.parametrize("target", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\nb"])
def test_the_form_leads_back_to_this_site_only(cast: Flask, target: str) -> None:
    assert choose(logged_in(cast, ALICE), "dark", target) == "/"


def test_it_needs_a_login_and_the_form_token(cast: Flask, client: FlaskClient) -> None:
    assert client.post("/theme", data={"theme": "dark"}).status_code == 401
    assert logged_in(cast, ALICE).post("/theme", data={"theme": "dark"}).status_code == 400
