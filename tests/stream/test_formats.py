"""An event in each of its shapes."""

import logging

import pytest

from app.eventlog.reader import Event
from app.stream import formats
from tests.stream.readers import event
from tests.support.sse_client import Frame, parse

WHEN = "2026-11-21T12:00:00.000Z"
COMMAND = event(7, "command.status", commandId="c", service="s", phase="unknown", logs=[])


def only(wire: bytes | None) -> Frame:
    assert wire is not None
    (frame,) = parse(wire)
    return frame


def test_json_is_named_by_type() -> None:
    frame = only(formats.JSON_FORMAT(event(7, "job.failed", jobId="1")))
    assert (frame.id, frame.event) == ("7", "job.failed")
    assert frame.json() == {"type": "job.failed", "timestamp": WHEN, "data": {"jobId": "1"}}


def test_events_are_unnamed_with_the_id_inside() -> None:
    frame = only(formats.EVENTS_FORMAT(event(7, "job.failed", jobId="1")))
    assert (frame.id, frame.event) == ("7", "message")
    assert frame.json() == {"id": 7, "type": "job.failed", "timestamp": WHEN, "data": {"jobId": "1"}}


def test_sse_is_unnamed() -> None:
    frame = only(formats.SSE_FORMAT(event(7, "job.failed", jobId="1")))
    assert (frame.id, frame.event) == ("7", "message")
    assert list(frame.json().items()) == [("type", "job.failed"), ("data", {"jobId": "1"}), ("timestamp", WHEN)]


def test_reconciliation_is_the_bare_payload_of_its_three_types() -> None:
    for name in ("reconciliation.update", "reconciliation.verified", "command.status"):
        frame = only(formats.RECONCILIATION_FORMAT(event(7, name, a=1)))
        assert (frame.id, frame.event, frame.json()) == ("7", name, {"a": 1})
    assert formats.RECONCILIATION_FORMAT(event(7, "job.failed")) is None
    assert formats.RECONCILIATION_FORMAT(event(7, "reconciliation.other")) is None


def test_an_unknown_phase_is_a_timeout_for_reconciliation_and_itself_elsewhere() -> None:
    assert only(formats.RECONCILIATION_FORMAT(COMMAND)).json()["phase"] == "timeout"
    assert only(formats.JSON_FORMAT(COMMAND)).json()["data"]["phase"] == "unknown"
    assert COMMAND.data["phase"] == "unknown", "the event itself is shared by all readers"


@pytest.mark.parametrize("phase", ["queued", "running", "success", "error", "timeout"])
def test_every_other_phase_stays(phase: str) -> None:
    assert only(formats.RECONCILIATION_FORMAT(event(7, "command.status", phase=phase))).json()["phase"] == phase


def test_html_is_unnamed_fragments_with_an_id() -> None:
    shape = formats.build_html_format(lambda found: f"<hx-partial>{found.id}</hx-partial>\n<hx-partial></hx-partial>")
    assert only(shape(event(7))) == Frame("message", "<hx-partial>7</hx-partial>\n<hx-partial></hx-partial>", "7")


def test_what_pages_only_act_on_is_a_signal() -> None:
    frame = only(formats.build_html_format(lambda _event: None)(event(7, "flag.changed")))
    assert (frame.event, frame.id, frame.json()) == ("signal", "7", {"type": "flag.changed"})


def test_an_event_that_no_template_can_show_goes_out_as_a_signal(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_event: Event) -> str:
        raise KeyError("service")

    with caplog.at_level(logging.ERROR, "app.stream.formats"):
        frame = only(formats.build_html_format(broken)(event(7, "odd")))
    assert (frame.event, frame.id) == ("signal", "7")
    assert "event_id=7 type=odd" in caplog.text
