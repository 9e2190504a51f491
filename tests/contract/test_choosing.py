"""`topics` and `as`: what a client may choose, and how a bad choice is refused."""

import pytest

from tests.contract.checks import names
from tests.contract.conftest import Knock, Listen, Publisher
from tests.contract.holding import holds
from tests.contract.people import Admin, Person
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream

EXACT = "`topics=a,b` lets through the events of exactly these types."
PREFIX = "`topics=job.*` lets through every type below `job.`, but neither `job` nor `jobs.x`."
REPLAY = "`topics` chooses in a replay as it does live."
EVERYWHERE = "`topics` works on every stream path."
CONTROL = "`hello` and `heartbeat` come whatever `topics` says."
BAD = "A bad `topics` is `400`, and `errors` names it."
JSON = "`as=json` is what comes without `as`."
HTML = "`as=html` sends an event as an id and unnamed data made of `<hx-partial>` and `<hx-upsert>` elements."
SIGNAL = '`as=html` sends what a page only acts on as `event: signal` with an id and `{"type"}`.'
SAME_CURSOR = "`as=html` gives every event of the audience an id, so that the cursor is the same in both shapes."
BAD_SHAPE = "Any other `as` is `400`, and `errors` names it."


def chosen(stream: Stream, ids: list[int]) -> list[int]:
    """Which of the published came, once the last of them has."""
    stream.event(ids[-1])
    return stream.ids_among(ids)


@holds(EXACT)
def test_one_topic_lets_one_type_through(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, f"{MAIN}?topics={kind}.a")
    ids = [publish(f"{kind}.{name}") for name in ("a", "b", "a.b", "a")]
    assert chosen(stream, ids) == [ids[0], ids[3]]


@holds(EXACT)
def test_two_topics_let_two_types_through(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, f"{MAIN}?topics={kind}.a,{kind}.c")
    ids = [publish(f"{kind}.{name}") for name in ("a", "b", "c")]
    assert chosen(stream, ids) == [ids[0], ids[2]]


@holds(EXACT)
def test_a_comma_may_be_quoted(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, f"{MAIN}?topics={kind}.a%2C{kind}.c")
    ids = [publish(f"{kind}.{name}") for name in ("a", "b", "c")]
    assert chosen(stream, ids) == [ids[0], ids[2]]


@holds(PREFIX)
def test_a_prefix_lets_everything_below_it_through(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, f"{MAIN}?topics={kind}.*")
    ids = [publish(name) for name in (f"{kind}.a", f"{kind}.a.b", f"{kind}.c")]
    assert chosen(stream, ids) == ids


@holds(PREFIX)
def test_a_prefix_keeps_its_own_name_and_longer_words_out(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, f"{MAIN}?topics={kind}.*")
    ids = [publish(name) for name in (kind, f"{kind}s.a", f"x{kind}.a", f"{kind}.a")]
    assert chosen(stream, ids) == ids[-1:]


@holds(PREFIX)
def test_a_prefix_and_a_type_go_together(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, f"{MAIN}?topics={kind}.a.*,{kind}.b")
    ids = [publish(f"{kind}.{name}") for name in ("a.x", "a", "b.x", "b")]
    assert chosen(stream, ids) == [ids[0], ids[3]]


@holds(REPLAY)
def test_topics_choose_in_a_replay(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    ids = [publish(f"{kind}.{name}") for name in ("start", "a", "b", "a")]
    stream = listen(alice, f"{MAIN}?topics={kind}.a&lastEventId={ids[0]}")
    assert chosen(stream, ids) == [ids[1], ids[3]]


@holds(EVERYWHERE)
def test_topics_choose_on_the_events_stream(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, f"{EVENTS}?topics={kind}.a")
    ids = [publish(f"{kind}.{name}") for name in ("b", "a")]
    assert chosen(stream, ids) == ids[1:]


@holds(EVERYWHERE)
def test_topics_choose_on_the_sse_path(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, f"{SSE}?topics={kind}.*")
    ids = [publish(f"{kind}{name}") for name in ("b", ".a")]
    assert chosen(stream, ids) == ids[1:]


@holds(EVERYWHERE)
def test_topics_choose_on_a_page_s_stream(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, f"{MAIN}?as=html&topics={kind}.a")
    ids = [publish(f"{kind}.{name}") for name in ("b", "a")]
    assert chosen(stream, ids) == ids[1:]


@holds(EVERYWHERE)
def test_topics_keep_the_rest_from_the_reconciliation_stream(
    alice: Person, listen: Listen, publish: Publisher, kind: str, beating: float
) -> None:
    stream = listen(alice, f"{RECONCILIATION}?topics=command.status")
    event_id = publish(kind)
    stream.wait(
        lambda: [f for f in stream.named("heartbeat") if f.json()["head"] >= event_id], "later ones", 3 * beating
    )
    assert stream.ids == []


@holds(CONTROL)
def test_hello_and_heartbeats_come_whatever_was_chosen(
    alice: Person, listen: Listen, kind: str, beating: float
) -> None:
    stream = listen(alice, f"{MAIN}?topics={kind}")
    stream.next_named("heartbeat", beating + 0.5)
    assert {frame.event for frame in stream.frames} == {"hello", "heartbeat"}


@holds(BAD)
def test_a_bare_star_is_no_topic(alice: Person, knock: Knock) -> None:
    names(knock(f"{MAIN}?topics=*", alice.bearer()).refusal, "topics")


@holds(BAD)
def test_a_star_inside_a_word_is_no_topic(alice: Person, knock: Knock) -> None:
    names(knock(f"{MAIN}?topics=jo*", alice.bearer()).refusal, "topics")
    names(knock(f"{MAIN}?topics=*.failed", alice.bearer()).refusal, "topics")


@holds(BAD)
def test_capital_letters_are_no_topic(alice: Person, knock: Knock) -> None:
    names(knock(f"{MAIN}?topics=Job.failed", alice.bearer()).refusal, "topics")


@holds(BAD)
def test_an_empty_word_is_no_topic(alice: Person, knock: Knock) -> None:
    for text in ("", "a,,b", "a,", ".a", "a.", "a..b"):
        names(knock(f"{MAIN}?topics={text}", alice.bearer()).refusal, "topics")


@holds(BAD)
def test_blanks_and_line_ends_are_no_topic(alice: Person, knock: Knock) -> None:
    for text in ("a%20b", "a,%20b", "a%0Ab", "a%0D%0AX-Y:%20z"):
        names(knock(f"{MAIN}?topics={text}", alice.bearer()).refusal, "topics")


@holds(BAD)
def test_a_bad_topic_beside_a_good_one_is_refused(alice: Person, knock: Knock) -> None:
    names(knock(f"{MAIN}?topics=job.failed,NO", alice.bearer()).refusal, "topics")


@holds(BAD)
def test_bad_topics_are_refused_on_every_path(charlie: Person, knock: Knock) -> None:
    for path in PATHS:
        names(knock(f"{path}?topics=!", charlie.bearer()).refusal, "topics")


@holds(JSON)
def test_json_is_what_comes_without_asking(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    unasked, asked = listen(alice), listen(alice, f"{MAIN}?as=json")
    event_id = publish(kind, {"n": 1})
    assert unasked.event(event_id).raw == asked.event(event_id).raw


@holds(HTML)
def test_a_page_gets_unnamed_fragments(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice, f"{MAIN}?as=html")
    frame = stream.event(publish(kind, {"n": 1}))
    assert frame.names == ["id", *["data"] * (len(frame.names) - 1)]
    assert frame.data.startswith(("<hx-partial", "<hx-upsert"))
    assert frame.data.rstrip().endswith(("</hx-partial>", "</hx-upsert>"))


@holds(HTML)
def test_a_page_s_control_frames_are_named_all_the_same(alice: Person, listen: Listen, beating: float) -> None:
    stream = listen(alice, f"{MAIN}?as=html&lastEventId=abc")
    stream.next_named("heartbeat", beating + 0.5)
    assert [frame.event for frame in stream.frames if frame.id is None or frame.event == "reset"][:2] == [
        "hello",
        "reset",
    ]


@pytest.mark.intrusive
@holds(SIGNAL)
def test_a_changed_flag_is_a_signal_to_a_page(alice: Person, listen: Listen, admin: Admin) -> None:
    """The same percentage again: it is an event all the same, and switches nobody."""
    stream = listen(alice, f"{MAIN}?as=html")
    admin.set_rollout(percentage=admin.rollout()["percentage"])
    frame = stream.first_named("signal")
    assert frame.names == ["id", "event", "data"]
    assert frame.json() == {"type": "flag.changed"}


@holds(SAME_CURSOR)
def test_both_shapes_have_the_same_ids(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    seen, *ids = [publish(kind), *publish.many(kind, 5), publish("job.started", {"service": "x", "jobId": "1"})]
    last = publish(kind)
    in_json, in_html = (listen(alice, f"{MAIN}?as={shape}&lastEventId={seen}") for shape in ("json", "html"))
    in_json.event(last)
    in_html.event(last)
    assert ids == in_json.ids_among(ids)
    assert [i for i in in_json.ids if i <= last] == [i for i in in_html.ids if i <= last]


@holds(BAD_SHAPE)
def test_an_unknown_shape_is_refused(alice: Person, knock: Knock) -> None:
    names(knock(f"{MAIN}?as=xml", alice.bearer()).refusal, "as")


@holds(BAD_SHAPE)
def test_an_empty_or_misspelt_shape_is_refused(alice: Person, knock: Knock) -> None:
    for shape in ("", "HTML", "html%20", "json,html"):
        names(knock(f"{MAIN}?as={shape}", alice.bearer()).refusal, "as")
