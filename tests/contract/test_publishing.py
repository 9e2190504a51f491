"""`POST /api/events` and the test broadcast: what is taken, and what is refused as a whole."""

import json
from typing import Any

from tests.contract.checks import names, problem
from tests.contract.conftest import Listen, Publisher, World
from tests.contract.holding import holds
from tests.contract.people import Person

ONE = 'One event is answered with `201` and `{"ids": [N]}`.'
MANY = "An array of up to 1,000 events is answered with their ids in the same order."
WHOLE = "An array is taken as a whole or not at all."
COUNT = "An empty array and one of more than 1,000 events are `400`."
ANY_OBJECT = "An unknown type takes any JSON object as its payload."
KNOWN = "A known type takes its own payload only: `400` names the field."
BAD = "A bad type, payload or audience is `400`, and `errors` names the place."
UNKNOWN_MEMBER = "An unknown member is `400`: a publisher chooses neither ids nor times."
NOT_JSON = "A body that is not JSON is `400`; NaN and infinity are not JSON."
TWICE = "A key that appears twice in one object is `400`, and `errors` names it."
PAYLOAD = "A payload of more than 64 KiB is `413`."
BODY = "A body of more than 8 MiB is `413`."
SCOPE = (
    "Publishing needs the scope `publish` and the role `operator` or `admin`: "
    "`403` without them, `401` without a credential."
)
CSRF = "A cookie without its CSRF token publishes nothing."
LOOKALIKE = "A type that only looks like one of Beacon's own is taken."
BROADCAST = "`POST /api/sse/test` sends everyone a `test.broadcast` and answers with its `id`."
BROADCASTERS = "`POST /api/sse/test` is for operators with the scope `publish`."

KIB = 1024
JOB = {"service": "contract", "jobId": "1"}


def payload_of(size: int) -> dict[str, str]:
    """An object of so many bytes, as compact JSON."""
    return {"pad": "x" * (size - len('{"pad":""}'))}


def is_own(publish: Publisher, event_type: str) -> bool:
    problem(publish.send({"type": event_type, "data": {}}), 403)
    problem(publish.send([{"type": "contract.fine", "data": {}}, {"type": event_type, "data": {}}]), 403)
    return True


def listed_since(world: World, person: Person, cursor: int) -> list[dict[str, Any]]:
    """Every event since, page by page."""
    found: list[dict[str, Any]] = []
    following: int | None = cursor
    while following is not None:
        page = world.ask("GET", f"/api/events?after={following}", person.bearer()).json()
        found += page["data"]
        following = page["meta"]["next"]
    return found


@holds(ONE)
def test_one_event_gets_one_id(publish: Publisher, kind: str) -> None:
    answer = publish.send({"type": kind, "data": {}})
    assert answer.status == 201
    told = answer.json()
    assert set(told) == {"ids"}
    assert [type(event_id) for event_id in told["ids"]] == [int]


@holds(ONE)
def test_an_array_of_one_gets_one_id(publish: Publisher, kind: str) -> None:
    assert len(publish.send([{"type": kind, "data": {}}]).json()["ids"]) == 1


@holds(ONE)
def test_the_same_event_twice_is_two_events(publish: Publisher, kind: str) -> None:
    assert publish(kind, {"n": 1}) < publish(kind, {"n": 1})


@holds(MANY)
def test_a_thousand_events_get_a_thousand_rising_ids(publish: Publisher, kind: str) -> None:
    ids = publish.many(kind, 1_000)
    assert len(ids) == 1_000
    assert ids == sorted(set(ids))


@holds(MANY)
def test_ids_are_in_the_order_of_the_array(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    ids = publish.many(kind, 50)
    stream.event(ids[-1])
    assert [stream.event(event_id).json()["data"]["n"] for event_id in ids] == list(range(50))


@holds(MANY)
def test_an_array_may_mix_types_and_audiences(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    audiences = ["everyone", "role:operator", f"user:{alice.name}", "role:viewer"]
    ids = publish.all(*({"type": f"{kind}.x{n}", "data": {}, "audience": to} for n, to in enumerate(audiences)))
    stream.event(ids[-1])
    assert stream.ids_among(ids) == [ids[0], ids[2], ids[3]]


@holds(WHOLE)
def test_one_bad_event_keeps_the_whole_array_out(alice: Person, world: World, publish: Publisher, kind: str) -> None:
    before = publish(kind)
    names(publish.send([{"type": kind, "data": {}}, {"type": kind, "data": []}]), "data")
    later = publish(kind)
    listed = [item["id"] for item in listed_since(world, alice, before) if item["type"] == kind]
    assert listed == [later]


@holds(WHOLE)
def test_one_of_beacon_s_own_types_keeps_the_whole_array_out(
    alice: Person, world: World, publish: Publisher, kind: str
) -> None:
    before = publish(kind)
    problem(publish.send([{"type": kind, "data": {}}, {"type": "flag.changed", "data": {}}]), 403)
    later = publish(kind)
    assert [item["id"] for item in listed_since(world, alice, before) if item["type"] == kind] == [later]


@holds(WHOLE)
def test_one_payload_that_is_too_large_keeps_the_whole_array_out(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice)
    problem(publish.send([{"type": kind, "data": {}}, {"type": kind, "data": payload_of(65 * KIB)}]), 413)
    later = publish(kind)
    stream.event(later)
    assert [frame.id for frame in stream.named(kind)] == [later]


@holds(COUNT)
def test_nothing_cannot_be_published(publish: Publisher) -> None:
    problem(publish.send([]), 400)


@holds(COUNT)
def test_a_thousand_and_one_are_too_many(publish: Publisher, kind: str) -> None:
    problem(publish.send([{"type": kind, "data": {}}] * 1_001), 400)


@holds(ANY_OBJECT)
def test_an_unknown_type_takes_any_object(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    data = {"": 1, "deep": {"er": [[], {}]}, "null": None, "ключ": "значение"}
    assert stream.event(publish(kind, data)).json()["data"] == data


@holds(ANY_OBJECT)
def test_a_type_may_be_one_word_with_digits_and_underscores(publish: Publisher) -> None:
    assert publish.send({"type": "contract_7", "data": {}}).status == 201


@holds(KNOWN)
def test_a_finished_job_is_taken(alice: Person, listen: Listen, publish: Publisher) -> None:
    stream = listen(alice)
    data = {**JOB, "queue": "mail", "at": "2026-11-21T12:00:00Z"}
    told = stream.event(publish("job.finished", data)).json()
    assert (told["type"], told["data"]["jobId"], told["data"]["queue"]) == ("job.finished", "1", "mail")


@holds(KNOWN)
def test_every_job_event_is_taken_without_what_may_be_left_out(publish: Publisher) -> None:
    names_of_jobs = ("job.queued", "job.started", "job.finished", "job.failed")
    assert len(publish.all(*({"type": name, "data": JOB} for name in names_of_jobs))) == 4


@holds(KNOWN)
def test_a_job_without_its_id_is_refused(publish: Publisher) -> None:
    names(publish.send({"type": "job.finished", "data": {"service": "x"}}), "jobId")


@holds(KNOWN)
def test_a_job_with_an_unknown_member_is_refused(publish: Publisher) -> None:
    names(publish.send({"type": "job.failed", "data": {**JOB, "surprise": 1}}), "surprise")


@holds(KNOWN)
def test_a_job_with_a_time_that_is_none_is_refused(publish: Publisher) -> None:
    names(publish.send({"type": "job.started", "data": {**JOB, "at": "yesterday"}}), "at")


@holds(BAD)
def test_capital_letters_are_no_type(publish: Publisher) -> None:
    names(publish.send({"type": "Job.Failed", "data": {}}), "type")


@holds(BAD)
def test_blanks_dots_and_line_ends_make_no_type(publish: Publisher) -> None:
    for bad in ("", " ", ".a", "a.", "a..b", "a b", "a-b", "a\nb", "a\n", "é", "a.*"):
        names(publish.send({"type": bad, "data": {}}), "type")


@holds(BAD)
def test_a_type_is_text(publish: Publisher) -> None:
    names(publish.send({"type": 7, "data": {}}), "type")


@holds(BAD)
def test_an_event_has_a_type_and_data(publish: Publisher, kind: str) -> None:
    names(publish.send({"data": {}}), "type")
    names(publish.send({"type": kind}), "data")


@holds(BAD)
def test_a_payload_is_an_object(publish: Publisher, kind: str) -> None:
    for bad in ([], "text", 7, None, True):
        names(publish.send({"type": kind, "data": bad}), "data")


@holds(BAD)
def test_an_unknown_audience_is_refused(publish: Publisher, kind: str) -> None:
    for bad in ("all", "", "user:", "role:", "role:nobody", "user:a b", "everyone\n", "*"):
        names(publish.send({"type": kind, "data": {}, "audience": bad}), "audience")


@holds(BAD)
def test_the_bad_one_of_an_array_is_named_by_its_place(publish: Publisher, kind: str) -> None:
    names(publish.send([{"type": kind, "data": {}}, {"type": "NO", "data": {}}]), "1")


@holds(UNKNOWN_MEMBER)
def test_a_publisher_chooses_no_id(publish: Publisher, kind: str) -> None:
    names(publish.send({"type": kind, "data": {}, "id": 1}), "id")


@holds(UNKNOWN_MEMBER)
def test_a_publisher_chooses_no_time(publish: Publisher, kind: str) -> None:
    names(publish.send({"type": kind, "data": {}, "timestamp": "2001-01-01T00:00:00Z"}), "timestamp")


@holds(NOT_JSON)
def test_half_a_json_text_is_refused(publish: Publisher) -> None:
    problem(publish.send_bytes(b'{"type": "contract.half", "da'), 400)


@holds(NOT_JSON)
def test_no_body_is_refused(publish: Publisher) -> None:
    problem(publish.send_bytes(b""), 400)


@holds(NOT_JSON)
def test_nan_and_infinity_are_refused(publish: Publisher) -> None:
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        problem(publish.send_bytes(b'{"type": "contract.nan", "data": {"n": ' + number + b"}}"), 400)


@holds(NOT_JSON)
def test_bytes_that_are_not_utf_8_are_refused(publish: Publisher) -> None:
    problem(publish.send_bytes(b'{"type": "contract.bytes", "data": {"t": "\xff\xfe"}}'), 400)


@holds(NOT_JSON)
def test_half_a_surrogate_pair_is_refused(publish: Publisher) -> None:
    problem(publish.send_bytes(b'{"type": "contract.half", "data": {"t": "\\ud800"}}'), 400)


@holds(NOT_JSON)
def test_a_nest_of_brackets_is_refused(publish: Publisher) -> None:
    problem(publish.send_bytes(b"[" * 50_000), 400)


@holds(TWICE)
def test_a_key_that_appears_twice_is_refused_by_name(publish: Publisher) -> None:
    body = b'{"type": "contract.twice", "data": {"state": "ok", "n": 1, "state": "failed"}}'
    assert "state" in problem(publish.send_bytes(body), 400)["errors"]


@holds(PAYLOAD)
def test_a_payload_of_64_kib_is_taken(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    data = payload_of(64 * KIB)
    assert stream.event(publish(kind, data)).json()["data"] == data


@holds(PAYLOAD)
def test_one_byte_more_is_refused(publish: Publisher, kind: str) -> None:
    problem(publish.send({"type": kind, "data": payload_of(64 * KIB + 1)}), 413)


@holds(PAYLOAD)
def test_bytes_are_counted_and_not_characters(publish: Publisher, kind: str) -> None:
    problem(publish.send({"type": kind, "data": {"pad": "é" * 40 * KIB}}), 413)


@holds(BODY)
def test_a_body_of_almost_8_mib_is_taken(publish: Publisher, kind: str) -> None:
    events = [{"type": kind, "data": payload_of(60 * KIB)}] * 130
    body = json.dumps(events).encode()
    assert 7.5 * KIB * KIB < len(body) < 8 * KIB * KIB
    assert publish.send_bytes(body).status == 201


@holds(BODY)
def test_a_body_of_more_than_8_mib_is_refused(publish: Publisher, kind: str) -> None:
    body = json.dumps([{"type": kind, "data": payload_of(60 * KIB)}] * 145).encode()
    assert publish.send_bytes(body).status == 413


@holds(SCOPE)
def test_the_anonymous_publish_nothing(world: World, kind: str) -> None:
    problem(world.ask("POST", "/api/events", json={"type": kind, "data": {}}), 401)


@holds(SCOPE)
def test_a_token_without_the_scope_publishes_nothing(bob: Person, world: World, kind: str) -> None:
    event = {"type": kind, "data": {}}
    headers = bob.bearer("stream", "read", "command", "admin")
    assert problem(world.ask("POST", "/api/events", headers, json=event), 403)["reason"] == "scope"


@holds(CSRF)
def test_a_cookie_alone_publishes_nothing(
    bob: Person, alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice)
    problem(bob.browser.ask("POST", "/api/events", json={"type": kind, "data": {}}), 400)
    later = publish(kind)
    stream.event(later)
    assert [frame.id for frame in stream.named(kind)] == [later]


@holds("Types below `reconciliation.` are Beacon's own: `403`.")
def test_nobody_else_says_what_was_reconciled(publish: Publisher) -> None:
    assert is_own(publish, "reconciliation.update")


@holds("Types below `command.` are Beacon's own: `403`.")
def test_nobody_else_says_how_a_command_went(publish: Publisher) -> None:
    assert is_own(publish, "command.status")


@holds("Types below `failure.` are Beacon's own: `403`.")
def test_nobody_else_says_that_a_cause_is_muted(publish: Publisher) -> None:
    assert is_own(publish, "failure.muted")


@holds("Types below `flag.` are Beacon's own: `403`.")
def test_nobody_else_says_that_a_flag_changed(publish: Publisher) -> None:
    assert is_own(publish, "flag.changed")


@holds("Types below `notification.` are Beacon's own: `403`.")
def test_nobody_else_notifies_people(publish: Publisher) -> None:
    assert is_own(publish, "notification.created")


@holds("Types below `flash.` are Beacon's own: `403`.")
def test_nobody_else_flashes_a_message(publish: Publisher) -> None:
    assert is_own(publish, "flash.message")


@holds("Types below `control.` are Beacon's own: `403`.")
def test_nobody_else_controls_streams(publish: Publisher) -> None:
    assert is_own(publish, "control.token_revoked")
    assert is_own(publish, "control.anything.at_all")


@holds(LOOKALIKE)
def test_names_that_only_look_like_beacon_s_own_are_taken(publish: Publisher) -> None:
    for name in ("flags.changed", "flag", "my.command.status", "controls.x", "reconciliation_x.update"):
        assert publish.send({"type": name, "data": {}}).status == 201, name


@holds("The audience `control` is refused: `403`.")
def test_nobody_else_publishes_to_the_audience_control(publish: Publisher, kind: str) -> None:
    problem(publish.send({"type": kind, "data": {}, "audience": "control"}), 403)


@holds(BROADCAST)
def test_the_test_broadcast_reaches_everyone(
    alice: Person, charlie: Person, bob: Person, listen: Listen, world: World
) -> None:
    streams = [listen(alice), listen(charlie)]
    answer = world.ask("POST", "/api/sse/test", bob.bearer("publish"))
    assert answer.status in (200, 201), answer.text
    assert {stream.event(answer.json()["id"]).event for stream in streams} == {"test.broadcast"}


@holds(BROADCASTERS)
def test_a_viewer_broadcasts_nothing(alice: Person, world: World) -> None:
    problem(world.ask("POST", "/api/sse/test", alice.bearer("publish")), 403)


@holds(BROADCASTERS)
def test_the_broadcast_needs_the_scope(bob: Person, world: World) -> None:
    problem(world.ask("POST", "/api/sse/test", bob.bearer("stream", "read")), 403)


@holds(BROADCASTERS)
def test_the_anonymous_broadcast_nothing(world: World) -> None:
    problem(world.ask("POST", "/api/sse/test"), 401)
