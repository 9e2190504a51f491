"""Frames joined for sending."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.eventlog.audience import EVERYONE
from app.eventlog.reader import Event
from app.stream import formats
from app.stream.chunks import LAST_HTTP_CHUNK, MAX_CHUNK_BYTES, Chunk, http_chunk, join_chunks, shared_encoding
from app.stream.formats import EventFormat
from app.stream.ring_buffer import BufferedEvent
from app.stream.topics import Topics, parse_topics
from tests.contract.wire import Dechunker
from tests.stream.readers import event, events, ids_in

ALL = shared_encoding(formats.JSON_FORMAT, Topics())


def entries(found: Sequence[Event]) -> list[BufferedEvent]:
    return [BufferedEvent(one) for one in found]


def join(
    found: Sequence[BufferedEvent],
    topics: str | None = None,
    audiences: frozenset[str] = frozenset({EVERYONE}),
    upto: int = 99,
) -> list[Chunk]:
    return list(
        join_chunks(found, shared_encoding(formats.JSON_FORMAT, parse_topics(topics)), audiences, 0, upto, lambda: None)
    )


def sized(size: int) -> EventFormat:
    return EventFormat("sized", lambda found: b"%d" % (found.id % 10) * size)


def test_frames_are_joined_in_order_and_reach_as_far_as_was_asked() -> None:
    (only,) = join(entries(events(1, 3)), upto=7)
    assert (ids_in(only.data), only.after, only.upto, only.events) == ([1, 2, 3], 0, 7, 3)


def test_nothing_that_fits_is_an_empty_chunk_that_moves_the_cursor() -> None:
    assert join(entries([event(1, "a", "user:bob")])) == [Chunk(b"", 0, 99, 0)]
    assert join([]) == [Chunk(b"", 0, 99, 0)]


def test_audiences_choose() -> None:
    found = entries([event(1), event(2, "a", "user:alice"), event(3, "a", "user:bob"), event(4, "a", "control")])
    (only,) = join(found, audiences=frozenset({EVERYONE, "user:alice"}))
    assert ids_in(only.data) == [1, 2]


def test_topics_choose() -> None:
    (only,) = join(entries([event(1, "job.a"), event(2, "jobs"), event(3, "x")]), topics="job.*,x")
    assert ids_in(only.data) == [1, 3]


def test_a_type_that_the_shape_leaves_out_is_passed_over() -> None:
    found = entries([event(1, "job.failed"), event(2, "command.status", phase="queued")])
    (only,) = join_chunks(
        found, shared_encoding(formats.RECONCILIATION_FORMAT, Topics()), {EVERYONE}, 0, 9, lambda: None
    )
    assert (ids_in(only.data), only.events, only.upto) == ([2], 1, 9)


def test_a_chunk_is_full_at_64_kib_exactly() -> None:
    half, shape = MAX_CHUNK_BYTES // 2, sized(MAX_CHUNK_BYTES // 2)
    made = list(join_chunks(entries(events(1, 3)), shared_encoding(shape, Topics()), {EVERYONE}, 0, 9, lambda: None))
    assert made == [Chunk(b"1" * half + b"2" * half, 0, 2, 2), Chunk(b"3" * half, 2, 9, 1)]


def test_a_frame_larger_than_that_goes_alone() -> None:
    made = list(
        join_chunks(
            entries(events(1, 2)), shared_encoding(sized(MAX_CHUNK_BYTES + 1), Topics()), {EVERYONE}, 0, 2, lambda: None
        )
    )
    assert [(len(one.data), one.after, one.upto) for one in made] == [
        (MAX_CHUNK_BYTES + 1, 0, 1),
        (MAX_CHUNK_BYTES + 1, 1, 2),
    ]


def test_it_paces_itself_after_each_frame_that_had_to_be_made_and_no_other() -> None:
    found, paces = entries([*events(1, 3), event(4, "a", "user:bob")]), list[str]()
    for _ in range(2):
        list(join_chunks(found, ALL, {EVERYONE}, 0, 9, lambda: paces.append("breath")))
    assert len(paces) == 3


def test_no_frame_is_made_for_whom_it_is_not() -> None:
    found = entries([event(1, "a", "user:bob"), event(2, "b")])
    join(found, topics="a")
    assert not any(one.has_frame(formats.JSON_FORMAT) for one in found)


def test_the_same_question_has_the_same_form() -> None:
    assert shared_encoding(formats.JSON_FORMAT, parse_topics("a,b.*")) is shared_encoding(
        formats.JSON_FORMAT, parse_topics("a,b.*")
    )
    assert shared_encoding(formats.JSON_FORMAT, parse_topics("a")) is not shared_encoding(
        formats.JSON_FORMAT, parse_topics("b")
    )
    assert shared_encoding(formats.JSON_FORMAT, parse_topics("a")) is not shared_encoding(
        formats.SSE_FORMAT, parse_topics("a")
    )


def test_readers_of_http_1_1_share_a_form_of_their_own() -> None:
    modern = shared_encoding(formats.JSON_FORMAT, parse_topics("a"), in_http_chunks=True)
    assert modern is shared_encoding(formats.JSON_FORMAT, parse_topics("a"), in_http_chunks=True)
    assert modern is not shared_encoding(formats.JSON_FORMAT, parse_topics("a"))


def test_what_is_joined_is_one_http_chunk_whose_frames_are_made_once_for_both_kinds_of_reader() -> None:
    found, paces = entries(events(1, 3)), list[str]()
    plain, modern = (
        list(join_chunks(found, one, {EVERYONE}, 0, 7, lambda: paces.append("made")))
        for one in (ALL, shared_encoding(formats.JSON_FORMAT, Topics(), in_http_chunks=True))
    )
    assert [one.data for one in modern] == [http_chunk(one.data) for one in plain]
    assert [(one.after, one.upto, one.events) for one in modern] == [(0, 7, 3)]
    assert len(paces) == 3


def test_nothing_is_never_an_http_chunk_which_would_end_the_stream() -> None:
    modern = shared_encoding(formats.JSON_FORMAT, Topics(), in_http_chunks=True)
    assert list(join_chunks([], modern, {EVERYONE}, 0, 9, lambda: None)) == [Chunk(b"", 0, 9, 0)]
    assert http_chunk(b"") == b""


@given(st.lists(st.binary(min_size=1, max_size=400), max_size=8))
def test_http_chunks_carry_what_was_put_in(parts: list[bytes]) -> None:
    dechunker = Dechunker()
    assert dechunker.feed(b"".join(map(http_chunk, parts)) + LAST_HTTP_CHUNK) == b"".join(parts)
    assert (dechunker.ended, dechunker.rest, dechunker.sizes) == (True, b"", [*map(len, parts), 0])


@given(st.lists(st.tuples(st.integers(1, 40_000), st.booleans()), max_size=30), st.integers(0, 5))
def test_chunks_continue_each_other_and_hold_everything_once(frames: list[tuple[int, bool]], above: int) -> None:
    made = [event(number, "a", EVERYONE if mine else "user:bob") for number, (_, mine) in enumerate(frames, start=1)]
    shape = EventFormat("sized", lambda found: b"%02d" % found.id * frames[found.id - 1][0])
    upto = len(made) + above
    found = list(join_chunks(entries(made), shared_encoding(shape, Topics()), {EVERYONE}, 0, upto, lambda: None))
    assert b"".join(one.data for one in found) == b"".join(shape(e) or b"" for e in made if e.audience == EVERYONE)
    assert [one.after for one in found] == [0, *(one.upto for one in found[:-1])]
    assert found[-1].upto == upto
    assert all(len(one.data) <= MAX_CHUNK_BYTES or one.events == 1 for one in found)
    assert sum(one.events for one in found) == sum(mine for _, mine in frames)
