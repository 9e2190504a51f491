"""Somebody waits for what the Admin API answers: it ends in time, and has an end."""

import time

import pytest

from app.flags.document import Flag
from app.flags.provider import TooLate
from app.flags.unleash import admin_api as admin_module
from app.flags.unleash.admin_api import AdminClient, AdminFlagState, UnleashUnavailable
from tests.support.hostile_json import as_bytes, many_keys
from tests.support.machine import scaled
from tests.support.unleash_stub import Answer, Edge, says, trickles, trickles_headers

TRICKLING = (trickles(1), trickles_headers)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (TRICKLING[0], "does not respond"),
        (TRICKLING[1], "does not respond"),
        (says(200, " " * 30_000), "does not respond"),
        (says(200, "[1]"), "cannot be read"),
        (says(200, "[" + "1," * 9_000), "cannot be read"),
    ],
    ids=["trickles", "headers that trickle", "too long", "no object", "no JSON"],
)
def test_an_answer_that_is_none_is_no_answer(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, answer: Answer, words: str
) -> None:
    if answer in TRICKLING:  # the others say what is wrong with them, however slow the machine is
        monkeypatch.setattr(admin_module, "ADMIN_DEADLINE_S", 0.3)
    monkeypatch.setattr(admin_module, "MAX_ADMIN_RESPONSE_BYTES", 20_000)
    edge.answers = [answer]
    began = time.monotonic()
    with pytest.raises(UnleashUnavailable, match=words):
        AdminClient(edge.url, "a token", "development").read_flag("default", Flag.SSE_STREAMING)
    assert time.monotonic() - began < scaled(30)


def test_who_changed_it_last_is_not_known_of_an_answer_without_an_end(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_module, "AUTHOR_TIMEOUT_S", 0.2)
    edge.answers = [trickles(1)]
    assert AdminClient(edge.url, "a token", "development").find_last_change(Flag.SSE_STREAMING) is None


def test_who_changed_it_is_waited_for_no_longer_than_a_kill_may_wait(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_module, "ADMIN_TIMEOUT_S", 600)
    monkeypatch.setattr(admin_module, "ADMIN_DEADLINE_S", 600)
    edge.answers = [trickles(1)]
    began = time.monotonic()
    assert AdminClient(edge.url, "a token", "development").find_last_change(Flag.SSE_STREAMING) is None
    assert time.monotonic() - began < scaled(60)


def test_what_comes_too_late_is_not_asked(edge: Edge) -> None:
    edge.answers = [says(200, "{}")]
    asked, look = AdminClient(edge.url, "a token", "development"), AdminFlagState(True, 10, "1", "10", None)
    late, in_time = time.monotonic() - 1, time.monotonic() + 600
    for change in (
        lambda not_after: asked.set_percentage("default", Flag.SSE_STREAMING, look, 50, not_after),
        lambda not_after: asked.switch("default", Flag.SSE_STREAMING, not_after, on=True),
    ):
        with pytest.raises(TooLate, match="sent nothing"):
            change(late)
        change(in_time)
    assert [line.split()[0] for line in edge.asked] == ["PATCH", "POST"]


def test_an_answer_of_half_a_million_keys_cannot_be_read(edge: Edge) -> None:
    edge.answers = [says(200, as_bytes(many_keys()).decode())]
    with pytest.raises(UnleashUnavailable, match="cannot be read"):
        AdminClient(edge.url, "a token", "development").read_flag("default", Flag.SSE_STREAMING)
