"""No payload and no client can forge a frame, whatever bytes it holds; judged by a parser of this suite's own."""

from typing import Any

from tests.contract.conftest import Knock, Listen, Publisher, World
from tests.contract.frames import Frame, parse
from tests.contract.holding import holds
from tests.contract.people import FRAMES, Person
from tests.contract.streams import EVENTS, MAIN, SSE, Stream

PAYLOAD = "A payload may hold any characters: no payload can forge a frame or a field."
CLIENT = "A client's own cursor and query cannot forge a frame or a header either."

LINE_FEEDS = 'x\n\nid: 999999999\nevent: bye\ndata: {"reason":"flag-off","poll":true}\n\n'
RETURNS = 'x\r\rid: 999999999\revent: reset\rdata: {"head":0}\r\r'
BOTH = "x\r\n\r\nid: 999999999\r\nevent: hello\r\ndata: forged\r\n\r\n"
SEPARATORS = "x\u2028\u2028id: 999999999\u2029\u2029event: bye\u2028data: forged"
OTHER_LINE_ENDS = "x\x85\x85id: 999999999\x0b\x0b\x0c\x0cdata: forged\x1c\x1d\x1e\x1f"
NULS = "x\0id: 999999999\0\0event: bye\0"
MARKS = "\ufeffid: 999999999\n\n\ufeff\n\nretry: 1\n\n"
FIELDS = "id: 999999999"
SYMBOLS = "\u240a\u240d\u2424id\uff1a 999999999"
MARKUP = "</hx-partial><script>alert(1)</script><hx-partial hx-target='body'>{{ 7*7 }}&#10;&#13;<!--"
REFERENCES = "&#10;&#10;id: 999999999&#13;&NewLine;event: bye"
BACKSLASHES = "\\n\\nid: 999999999\\n\\u000a\\r"


def everywhere(text: str) -> dict[str, Any]:
    """The text as a key, a value and inside of lists."""
    return {text: text, "list": [text, {text: [text]}]}


def is_whole(stream: Stream, publish: Publisher, kind: str, text: str) -> list[Frame]:
    """The frames of three events: one before, the hostile one, one after; nothing else came between or with them."""
    ids = [publish(kind), publish(kind, everywhere(text)), publish(kind)]
    stream.event(ids[-1])
    assert stream.ids_among(ids) == ids
    assert all(frame.id is None or frame.id < 999_999_999 for frame in stream.frames)
    assert {frame.event for frame in stream.frames if frame.id is None} <= {"hello", "heartbeat"}
    assert len(stream.named("hello")) == 1
    return [stream.event(event_id) for event_id in ids]


def arrives(stream: Stream, publish: Publisher, kind: str, text: str) -> bool:
    return bool(is_whole(stream, publish, kind, text)[1].json()["data"] == everywhere(text))


@holds(PAYLOAD)
def test_line_feeds_forge_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert arrives(listen(alice), publish, kind, LINE_FEEDS)


@holds(PAYLOAD)
def test_carriage_returns_forge_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert arrives(listen(alice), publish, kind, RETURNS)


@holds(PAYLOAD)
def test_both_line_ends_together_forge_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert arrives(listen(alice), publish, kind, BOTH)


@holds(PAYLOAD)
def test_line_and_paragraph_separators_forge_nothing(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    assert arrives(listen(alice), publish, kind, SEPARATORS)


@holds(PAYLOAD)
def test_line_ends_of_other_standards_forge_nothing(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    assert arrives(listen(alice), publish, kind, OTHER_LINE_ENDS)


@holds(PAYLOAD)
def test_nuls_forge_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert arrives(listen(alice), publish, kind, NULS)


@holds(PAYLOAD)
def test_byte_order_marks_forge_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert arrives(listen(alice), publish, kind, MARKS)


@holds(PAYLOAD)
def test_what_looks_like_a_field_forges_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert arrives(listen(alice), publish, kind, FIELDS)


@holds(PAYLOAD)
def test_symbols_of_line_ends_forge_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert arrives(listen(alice), publish, kind, SYMBOLS)


@holds(PAYLOAD)
def test_backslashes_forge_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    assert arrives(listen(alice), publish, kind, BACKSLASHES)


@holds(PAYLOAD)
def test_64_kib_of_line_ends_forge_nothing(alice: Person, listen: Listen, publish: Publisher, kind: str) -> None:
    stream = listen(alice)
    text = "\n\r\u2028" * 9_000  # escaped, almost 64 KiB
    assert stream.event(publish(kind, {"text": text})).json()["data"]["text"] == text


@holds(PAYLOAD)
def test_no_hostile_text_forges_anything_on_the_events_stream(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, EVENTS)
    for text in (LINE_FEEDS, RETURNS, BOTH, SEPARATORS, NULS, MARKS):
        assert arrives(stream, publish, kind, text)


@holds(PAYLOAD)
def test_no_hostile_text_forges_anything_on_the_sse_path(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, SSE)
    for text in (LINE_FEEDS, RETURNS, BOTH, SEPARATORS, NULS, MARKS):
        assert arrives(stream, publish, kind, text)


@holds(PAYLOAD)
def test_no_hostile_text_forges_anything_on_a_page_s_stream(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    stream = listen(alice, f"{MAIN}?as=html")
    for text in (LINE_FEEDS, RETURNS, BOTH, SEPARATORS, NULS, MARKS, MARKUP, REFERENCES):
        assert is_whole(stream, publish, kind, text)


@holds(PAYLOAD)
def test_markup_arrives_on_a_page_as_text(alice: Person, listen: Listen, publish: Publisher) -> None:
    stream = listen(alice, f"{MAIN}?as=html")
    frame = stream.event(publish("job.failed", {"service": MARKUP, "jobId": MARKUP, "queue": MARKUP}))
    assert "<script" not in frame.data
    assert "{{ 7*7 }}" in frame.data  # as it was written, worked out by nobody
    assert frame.data.count("<hx-partial") == frame.data.count("</hx-partial>")


@holds(PAYLOAD)
def test_line_ends_in_a_known_payload_forge_nothing_on_a_page(
    alice: Person, listen: Listen, publish: Publisher
) -> None:
    stream = listen(alice, f"{MAIN}?as=html")
    for text in (LINE_FEEDS, RETURNS, BOTH, SEPARATORS):
        frame = stream.event(publish("job.failed", {"service": text, "jobId": text}))
        assert frame.event == "message"
    assert {frame.event for frame in stream.frames if frame.id is None} <= {"hello", "heartbeat"}


@holds(PAYLOAD)
def test_no_hostile_text_forges_anything_in_polled_frames(
    alice: Person, publish: Publisher, world: World, kind: str
) -> None:
    texts = (LINE_FEEDS, RETURNS, BOTH, SEPARATORS, NULS, MARKS, MARKUP)
    ids = [publish(kind, everywhere(text)) for text in texts]
    frames = parse(world.ask("GET", f"{FRAMES}?after={ids[0] - 1}", alice.bearer()).body)
    assert [frame.id for frame in frames if frame.id in ids] == ids
    assert [frame.event for frame in frames if frame.id is None] == ["hello"]


@holds(PAYLOAD)
def test_no_hostile_text_forges_anything_in_a_replay(
    alice: Person, listen: Listen, publish: Publisher, kind: str
) -> None:
    texts = (LINE_FEEDS, RETURNS, BOTH, SEPARATORS, NULS, MARKS)
    ids = [publish(kind, everywhere(text)) for text in texts]
    stream = listen(alice, MAIN, {"Last-Event-ID": str(ids[0] - 1)})
    stream.event(ids[-1])
    assert [stream.event(event_id).json()["data"] for event_id in ids] == [everywhere(text) for text in texts]
    assert {frame.event for frame in stream.frames if frame.id is None} <= {"hello", "heartbeat"}


@holds(CLIENT)
def test_line_ends_in_the_query_s_cursor_forge_nothing(alice: Person, listen: Listen) -> None:
    stream = listen(alice, f"{MAIN}?lastEventId=1%0A%0Adata:%20forged%0Aid:%201%0D%0A")
    assert stream.first_named("reset").json()["reason"] == "malformed"
    assert b"forged" not in stream.body


@holds(CLIENT)
def test_hostile_bytes_in_the_header_s_cursor_forge_nothing(alice: Person, listen: Listen) -> None:
    stream = listen(alice, MAIN, {"Last-Event-ID": '1","head":7}\tdata: forged \xe9'})
    assert stream.first_named("reset").json()["reason"] == "malformed"
    assert b"forged" not in stream.body


@holds(CLIENT)
def test_line_ends_in_the_query_forge_no_header(alice: Person, knock: Knock) -> None:
    for name in ("topics", "as", "lastEventId"):
        stream = knock(f"{MAIN}?{name}=x%0D%0AX-Forged:%201%0D%0A%0D%0Aforged", alice.bearer())
        assert stream.head.get("X-Forged") is None
        assert b"X-Forged" not in stream.head.raw
