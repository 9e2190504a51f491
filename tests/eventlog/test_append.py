"""`append`, the one writer of the log: rising ids, all or nothing, and what it refuses."""

import json
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.accounts.models import User
from app.db import read, write
from app.eventlog import event_types
from app.eventlog import reader as log
from app.eventlog.append import InvalidEvent, NewEvent, append
from app.eventlog.event_types import FlagChanged, JobEvent
from app.infra.clock import parse_utc, utc_now
from tests.support.machine import scaled

WHEN = "2026-11-21T12:00:00Z"
CAUSE = {"group": "a1", "title": "KeyError in mail.send", "count": 2, "firstAt": WHEN, "lastAt": WHEN}
# One payload of every known type, as the contract shows them.
GOOD: dict[str, dict[str, Any]] = {
    "reconciliation.update": {
        "eventId": "e1",
        "service": "mail",
        "status": "discrepancy",
        "counts": {"queued": 3},
        "checksum": "c0ffee",
        "latencyMs": 12,
        "checkedAt": WHEN,
        "discrepancyDetails": {"expected": 4, "actual": 3, "missingJobIds": ["j1"]},
        "findings": [{"kind": "missing", "jobIds": ["j1"], "since": WHEN}],
        "lastVerifiedAt": WHEN,
    },
    "reconciliation.verified": {"services": {"mail": {"checkedAt": WHEN, "latencyMs": 4}}},
    "reconciliation.failures": {"service": "mail", "failed": 3, "causes": [CAUSE], "notReadYet": 1},
    "reconciliation.new_causes": {"service": "mail", "causes": [CAUSE], "moreCauses": 2},
    "command.status": {"commandId": "c1", "service": "mail", "phase": "running", "logs": ["sent"]},
    "notification.created": {"id": "n1", "severity": "warning", "title": "Mail", "body": "is late", "link": "/"},
    "notification.changed": {},
    "flash.message": {"id": "f1", "severity": "info", "text": "hi", "actor": "bob", "expiresAt": WHEN},
    "reconciliation.cause_muted": {
        "group": "g1",
        "service": "mail",
        "title": "KeyError",
        "actor": "bob",
        "until": WHEN,
    },
    "flag.changed": {
        "flag": "x",
        "enabled": True,
        "percentage": 50,
        "actor": "pia",
        "reason": "why",
        "cause": "manual",
        "kind": "set",
    },
    "job.queued": {"service": "mail", "jobId": "1"},
    "job.started": {"service": "mail", "jobId": "1", "queue": "fast"},
    "job.finished": {"service": "mail", "jobId": "1", "at": WHEN},
    "job.failed": {"service": "mail", "jobId": "1"},
    "control.session_ended": {"session": "s"},
    "control.user_changed": {"user": "alice"},
    "control.token_revoked": {"token": 7},
}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("reconciliation.update", {**GOOD["reconciliation.update"], "status": "fine"}, "0.data.status"),
    ("reconciliation.update", {**GOOD["reconciliation.update"], "latencyMs": -1}, "0.data.latencyMs"),
    ("reconciliation.verified", {"services": {"mail": {}}}, "0.data.services.mail.checkedAt"),
    ("reconciliation.failures", {"service": "mail", "failed": -1, "causes": []}, "0.data.failed"),
    ("reconciliation.new_causes", {"service": "mail", "causes": [{**CAUSE, "count": 0}]}, "0.data.causes.0.count"),
    ("command.status", {**GOOD["command.status"], "phase": "lost"}, "0.data.phase"),
    ("notification.created", {**GOOD["notification.created"], "severity": "fatal"}, "0.data.severity"),
    ("notification.changed", {"extra": 1}, "0.data.extra"),
    ("flash.message", {**GOOD["flash.message"], "expiresAt": "soon"}, "0.data.expiresAt"),
    ("reconciliation.cause_muted", {**GOOD["reconciliation.cause_muted"], "until": "soon"}, "0.data.until"),
    ("flag.changed", {**GOOD["flag.changed"], "percentage": 101}, "0.data.percentage"),
    ("flag.changed", {**GOOD["flag.changed"], "cause": "pia"}, "0.data.cause"),
    ("job.finished", {"service": "mail"}, "0.data.jobId"),
    ("job.finished", {"service": "mail", "jobId": ""}, "0.data.jobId"),
    ("job.finished", {"service": "mail", "jobId": "1", "at": "2026-11-21T12:00:00"}, "0.data.at"),
    ("control.token_revoked", {"token": "x"}, "0.data.token"),
]


def put(*events: NewEvent) -> list[int]:
    with write() as session:
        return append(session, events)


def everything() -> list[log.Event]:
    with read() as session:
        return log.read_after(session, 0).events


def padded(size: int) -> dict[str, Any]:
    """A payload of exactly `size` bytes as compact JSON."""
    return {"pad": "x" * (size - len('{"pad":""}'))}


@pytest.fixture(autouse=True)
def _context(app: Flask) -> Any:
    with app.app_context():
        yield


def test_ids_rise_by_one_in_the_order_given() -> None:
    first = put(NewEvent("a", {"n": 1}), NewEvent("b", {"n": 2}))
    second = put(NewEvent("c", {"n": 3}))
    assert first + second == [1, 2, 3]
    assert [(event.id, event.type, event.data["n"]) for event in everything()] == [
        (1, "a", 1),
        (2, "b", 2),
        (3, "c", 3),
    ]


def test_a_thousand_events_keep_their_order() -> None:
    ids = put(*(NewEvent("a", {"n": n}) for n in range(1_000)))
    assert ids == sorted(ids)
    with read() as session:
        stored = log.read_after(session, 0, limit=2_000).events
    assert [event.data["n"] for event in stored] == list(range(1_000))


def test_time_is_utc_with_milliseconds_and_audience_is_everyone_unless_said() -> None:
    put(NewEvent("a", {}), NewEvent("a", {}, "role:operator"))
    public, private = everything()
    assert (public.audience, private.audience) == ("everyone", "role:operator")
    assert len(public.timestamp) == len("2026-11-21T12:00:00.000Z")
    assert public.timestamp.endswith("Z")
    assert abs((utc_now() - parse_utc(public.timestamp)).total_seconds()) < 60


def test_nothing_is_appended_when_one_of_many_is_bad() -> None:
    with pytest.raises(InvalidEvent) as refused:
        put(NewEvent("a", {}), NewEvent("b", {}), NewEvent("Bad Type", {}))
    assert refused.value.field == "2.type"
    assert everything() == []


def test_nothing_is_appended_when_the_block_fails_after_it() -> None:
    def fails_late() -> None:
        with write() as session:
            append(session, [NewEvent("a", {})])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails_late()
    assert everything() == []
    put(NewEvent("b", {}))
    assert [event.type for event in everything()] == ["b"]


def test_an_empty_batch_is_no_write_at_all() -> None:
    assert put() == []


def test_concurrent_writers_get_different_ids_without_a_gap(app: Flask) -> None:
    got: list[int] = []

    def writer() -> None:
        with app.app_context():
            for _ in range(10):
                got.extend(put(NewEvent("a", {}), NewEvent("b", {})))

    threads = [threading.Thread(target=writer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(20))
    assert sorted(got) == list(range(1, 81))


def test_a_payload_for_every_known_type_is_tested_here() -> None:
    assert set(GOOD) == set(event_types.PAYLOAD_MODELS)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_payload_of_a_known_type_comes_back_as_it_went_in(name: str) -> None:
    put(NewEvent(name, GOOD[name]))
    with read() as session:
        row = session.execute(sa.text("SELECT data_json FROM event ORDER BY id LIMIT 1")).scalar_one()
    assert json.loads(row) == GOOD[name]
    assert everything()[0].data == GOOD[name]


@pytest.mark.parametrize("name", GOOD)
def test_a_known_type_takes_no_unknown_field(name: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        put(NewEvent(name, {**GOOD[name], "surprise": 1}))
    assert refused.value.field == "0.data.surprise"


@pytest.mark.parametrize(("name", "data", "field"), BAD)
def test_a_bad_payload_of_a_known_type_is_refused_and_its_field_named(
    name: str, data: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidEvent) as refused:
        put(NewEvent(name, data))
    assert refused.value.field == field
    assert not refused.value.too_large
    assert everything() == []


def test_a_payload_model_goes_in_as_the_wire_writes_it() -> None:
    put(NewEvent("job.failed", JobEvent(service="mail", job_id="7")))
    assert everything()[0].data == {"service": "mail", "jobId": "7"}


def test_a_payload_model_of_another_type_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(TypeError, match=r"JobEvent is not the payload of flag\.changed"):
        put(NewEvent("flag.changed", JobEvent(service="mail", job_id="7")))
    with pytest.raises(TypeError):
        put(NewEvent("my.own", FlagChanged.model_validate(GOOD["flag.changed"])))


@pytest.mark.parametrize(
    "name",
    ["", "A", "a b", "a.", ".a", "a..b", "a-b", "ä", "a\n", "a\r\ndata: x", "a\0", "a.*", "a" * 101, "\ud800", "²"],
)
def test_bad_type_is_refused(name: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        put(NewEvent(name, {}))
    assert refused.value.field == "0.type"


@pytest.mark.parametrize("name", ["a", "a.b", "job_2.done_", "_", "0.1", "a" * 100])
def test_good_type_is_taken(name: str) -> None:
    assert put(NewEvent(name, {})) == [1]


@pytest.mark.parametrize(
    "audience",
    ["", "Everyone", "role:", "role:root", "role:operator\n", "user:", "user:a b", "user:" + "a" * 65, "alice", "*"],
)
def test_bad_audience_is_refused(audience: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        put(NewEvent("a", {}, audience))
    assert refused.value.field == "0.audience"


def test_64_kib_fit_and_one_byte_more_does_not() -> None:
    assert put(NewEvent("a", padded(64 * 1024))) == [1]
    with pytest.raises(InvalidEvent) as refused:
        put(NewEvent("a", padded(64 * 1024 + 1)))
    assert refused.value.too_large
    assert refused.value.field == "0.data"


def test_size_is_counted_in_bytes_not_in_characters() -> None:
    with pytest.raises(InvalidEvent) as refused:
        put(NewEvent("a", {"pad": "ü" * 33_000}))
    assert refused.value.too_large


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_know_are_refused(value: float) -> None:
    with pytest.raises(InvalidEvent, match="NaN"):
        put(NewEvent("a", {"deep": [{"n": value}]}))


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc00\ud800"])
def test_half_a_surrogate_pair_is_refused(text: str) -> None:
    with pytest.raises(InvalidEvent, match="surrogate"):
        put(NewEvent("a", {"text": text}))
    with pytest.raises(InvalidEvent):
        put(NewEvent("job.failed", {"service": text, "jobId": "1"}))


def test_nesting_has_a_bound() -> None:
    """Deeper JSON would exhaust the stack of some later reader, whose own depth nobody knows."""
    deep: Any = 1
    for _ in range(event_types.MAX_DEPTH - 1):
        deep = [deep]
    assert put(NewEvent("a", {"x": deep})) == [1]
    with pytest.raises(InvalidEvent, match="nested"):
        put(NewEvent("a", {"x": [deep]}))


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert put(NewEvent("a", {"list": [[]] * 500, "text": "[" * 500})) == [1]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), children, max_size=4)
    ),
    max_leaves=15,
)


@given(data=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=5))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_object_comes_back_equal(data: dict[str, Any]) -> None:
    (event_id,) = put(NewEvent("any", data))
    with read() as session:
        assert log.read_after(session, event_id - 1).events[0].data == data


def test_other_changes_of_the_session_are_flushed_first() -> None:
    """Two writers that locked the log and their rows in different orders would wait for each other for ever."""
    statements: list[str] = []
    with write() as session:
        session.add(User(name="x", role="viewer", password_hash="-", created_at="2026"))
        sa.event.listen(session.get_bind(), "before_cursor_execute", lambda *args: statements.append(args[2]))
        append(session, [NewEvent("a", {})])
    inserts = [statement for statement in statements if statement.startswith("INSERT")]
    assert [statement.split()[2].strip('"') for statement in inserts] == ["user", "event"]
