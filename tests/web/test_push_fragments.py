"""An event's fragments: what enters where, and that nothing in an event can be more than text."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Flask

from app.eventlog.reader import Event
from app.web.dashboard import push_fragments
from tests.web.payloads import discrepancy, update

HOSTILE = "</td><hx-partial hx-target='body'><script>alert(1)</script>\n\nid: 9\n\ndata: x"


FLASH = {
    "id": "1",
    "severity": "warning",
    "text": "Deploy at 3",
    "actor": "olga",
    "expiresAt": "2026-11-21T12:30:00Z",
}


def event(type: str, data: dict[str, Any]) -> Event:  # noqa: A002 -- the event's own word
    return Event(1041, type, "everyone", data, "2026-11-21T12:03:05.123Z")


def failures(title: str = "SMTPError in mail.send", **changed: Any) -> dict[str, Any]:
    at = "2026-11-21T12:03:05.123Z"
    cause = {"group": title, "title": title, "count": 28, "firstAt": at, "lastAt": at}
    return {"service": "mail", "failed": 31, "causes": [cause], **changed}


def targets(text: str | None) -> list[tuple[str, str]]:
    assert text is not None
    return re.findall(r'<(hx-\w+) hx-target="([^"]+)"', text)


@pytest.mark.usefixtures("bare")
class TestFragments:
    def test_an_update_replaces_tile_and_strip_row_and_adds_a_change(self) -> None:
        text = push_fragments.render_fragments(event("reconciliation.update", update(previousStatus="stale")))
        assert targets(text) == [("hx-partial", "#tile-mail"), ("hx-partial", "#strip-mail"), ("hx-upsert", "#changes")]

    def test_the_strip_says_how_long_a_discrepancy_lasts(self) -> None:
        last = {"at": "2026-11-21T12:03:05.000Z", "missingJobIds": ["a"]}
        text = push_fragments.render_fragments(event("reconciliation.update", discrepancy("a", lastDiscrepancy=last)))
        assert text is not None
        assert re.search(r'class="strip-age">.*<time datetime="[^"]+" data-lasting>since ', text)

    def test_a_check_that_only_moved_numbers_adds_no_change(self) -> None:
        text = push_fragments.render_fragments(event("reconciliation.update", update()))
        assert targets(text) == [("hx-partial", "#tile-mail"), ("hx-partial", "#strip-mail")]

    def test_the_first_update_of_a_service_enters_instead(self) -> None:
        data = update()
        del data["previousStatus"]
        text = push_fragments.render_fragments(event("reconciliation.update", data))
        assert targets(text) == [
            ("hx-partial", "#tile-mail"),
            ("hx-upsert", "#tiles"),
            ("hx-upsert", "#strip-rows"),
            ("hx-upsert", "#changes"),
        ]

    def test_failed_jobs_enter_the_strip_and_their_causes_the_tile(self) -> None:
        text = push_fragments.render_fragments(event("reconciliation.failures", failures()))
        assert targets(text) == [("hx-upsert", "#strip-rows"), ("hx-partial", "#tile-mail .tile-causes")]
        assert text_of(text).count("31 failed: 28 SMTPError in mail.send") == 2

    def test_without_a_recent_cause_the_row_is_hidden_and_the_tile_says_nothing(self) -> None:
        text = push_fragments.render_fragments(event("reconciliation.failures", failures(causes=[])))
        assert 'data-state="verified"' in (text or "")
        assert text_of(text).strip() == ""

    def test_a_new_cause_is_a_change(self) -> None:
        causes = failures()["causes"]
        text = push_fragments.render_fragments(
            event("reconciliation.new_causes", {"service": "mail", "causes": causes})
        )
        assert targets(text) == [("hx-upsert", "#changes")]
        assert "new cause: 28 SMTPError in mail.send" in (text or "")

    def test_checks_that_changed_nothing_move_only_the_ages(self) -> None:
        checks = {name: {"checkedAt": "2026-11-21T12:03:05.000Z", "latencyMs": 4} for name in ("mail", "a.b")}
        text = push_fragments.render_fragments(event("reconciliation.verified", {"services": checks}))
        assert targets(text) == [("hx-partial", "#check-mail"), ("hx-partial", "#check-x-612e62")]

    @pytest.mark.parametrize(
        ("as_of", "said"), [("2026-11-21T11:53:05Z", True), ("2026-11-21T12:03:04Z", False), (None, False)]
    )
    def test_figures_that_lag_behind_their_answer_carry_their_own_time(self, as_of: str | None, said: bool) -> None:
        check = {"checkedAt": "2026-11-21T12:03:05.000Z", "latencyMs": 4} | ({"asOf": as_of} if as_of else {})
        text = push_fragments.render_fragments(event("reconciliation.verified", {"services": {"mail": check}}))
        assert text is not None
        assert ("counts from" in text) is said
        assert ('datetime="2026-11-21T11:53:05Z"' in text) is said

    @pytest.mark.parametrize("type_", ["notification.created", "notification.changed", "flag.changed"])
    def test_what_a_page_only_acts_on_is_no_fragment(self, type_: str) -> None:
        assert push_fragments.render_fragments(event(type_, {})) is None

    def test_a_command_is_a_change_and_says_so_where_it_was_given(self) -> None:
        data = {"commandId": "c.1", "service": "mail", "phase": "running", "logs": ["asked"], "actionType": "retry-job"}
        text = push_fragments.render_fragments(event("command.status", data))
        assert targets(text) == [("hx-partial", "#command-x-632e31"), ("hx-upsert", "#changes")]
        assert text is not None
        assert "retrying…" in text
        assert "asked" in text

    @pytest.mark.parametrize(
        ("type_", "data", "words"),
        [
            ("test.broadcast", {"text": "hello", "n": 3}, "text hello · n 3"),
            ("job.failed", {"service": "mail", "jobId": "job_1", "queue": "out"}, "in queue out"),
        ],
    )
    def test_every_other_event_is_a_change(self, type_: str, data: dict[str, Any], words: str) -> None:
        text = push_fragments.render_fragments(event(type_, data))
        assert targets(text) == [("hx-upsert", "#changes")]
        assert words in (text or "")

    def test_a_message_goes_into_the_bar_and_the_list(self) -> None:
        text = push_fragments.render_fragments(event("flash.message", FLASH))
        assert targets(text) == [("hx-upsert", "#flashes"), ("hx-upsert", "#changes")]
        assert "Deploy at 3" in (text or "")
        assert 'form="flash-form"' in (text or "")

    def test_missing_ids_are_whole_in_the_text(self) -> None:
        text = push_fragments.render_fragments(event("reconciliation.update", discrepancy("job_0a1b2c3d4e5f", "job_2")))
        assert text_of(text).count("job_0a1b2c3d4e5f") == 3  # tile, strip, change
        assert 'title="job_0a1b2c3d4e5f"' in (text or "")

    def test_names_are_looked_up(self) -> None:
        text = push_fragments.render_fragments(
            event("reconciliation.update", update()), lambda service: service.upper()
        )
        assert ">MAIL</a>" in (text or "")

    @pytest.mark.parametrize(
        "happened",
        [
            event("reconciliation.update", discrepancy(HOSTILE, service=HOSTILE)),
            event("reconciliation.update", update(status="stale", counts={}, reason=HOSTILE)),
            event(
                "reconciliation.verified",
                {"services": {HOSTILE: {"checkedAt": "2026-11-21T12:03:05Z", "latencyMs": 1}}},
            ),
            event("test.broadcast", {"service": HOSTILE, HOSTILE: HOSTILE}),
            event("job.failed", {"service": "mail", "jobId": HOSTILE, "queue": HOSTILE}),
            event("reconciliation.failures", failures(HOSTILE, service=HOSTILE)),
            event("reconciliation.new_causes", {"service": HOSTILE, "causes": failures(HOSTILE)["causes"]}),
            event("flash.message", {**FLASH, "id": HOSTILE, "text": HOSTILE, "actor": HOSTILE}),
        ],
    )
    def test_no_content_can_become_markup_a_fragment_or_a_frame(self, happened: Event) -> None:
        text = push_fragments.render_fragments(happened) or ""
        assert "\n" not in text
        assert "<script" not in text
        assert "<hx-partial hx-target='body'" not in text
        assert all(re.fullmatch(r"#[A-Za-z0-9_-]+(?: \.tile-causes)?", target) for _, target in targets(text))

    def test_half_a_surrogate_pair_is_replaced(self) -> None:
        text = push_fragments.render_fragments(event("test.broadcast", {"text": "a\ud800b"})) or ""
        assert "text a?b" in text.encode().decode()

    def test_a_fragment_knows_no_viewer(self) -> None:
        text = push_fragments.render_fragments(event("reconciliation.update", discrepancy("job_1"))) or ""
        assert "csrf" not in text
        assert "<form" not in text

    def test_it_needs_no_request(self, bare: Flask) -> None:
        assert push_fragments.render_fragments(event("reconciliation.update", update()))


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(html: str | None) -> str:
    parser = _Text()
    parser.feed(html or "")
    return "".join(parser.parts)
