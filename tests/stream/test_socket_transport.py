"""A reader on a socket: what the kernel takes, what waits, and how it ends."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stream import control
from app.stream.chunks import MAX_CHUNK_BYTES, Chunk, http_chunk
from app.stream.socket_transport import CLOSE_GRACE_S, SocketSubscriber
from app.stream.subscriber import CloseReason
from tests.contract.wire import Dechunker
from tests.stream import readers
from tests.stream.readers import FakeOwner, FakeSocket, chunk, read_to_end, tcp_pair
from tests.support.clock import own_time
from tests.support.sse_client import Parser, parse

FIRST, SECOND = chunk(0, 3, b"id: 3\ndata: 3\n\n", 3), chunk(3, 4, b"id: 4\ndata: 4\n\n")
MODERN = chunk(0, 3, http_chunk(FIRST.data), 3)
BEAT = control.heartbeat_frame(4, degraded=False)


@pytest.fixture
def owner() -> FakeOwner:
    return FakeOwner()


def live_wire(connection: FakeSocket, owner: FakeOwner, after: int = 0) -> SocketSubscriber:
    made = readers.wire(connection, owner, after=after)
    made.live = True
    return made


def drain(made: SocketSubscriber, connection: FakeSocket, room: int | None = None) -> None:
    """The kernel has room again, and says so."""
    connection.room = room
    made.on_writable()


def byes(data: bytes) -> list[str]:
    return [frame.json()["reason"] for frame in parse(data) if frame.event == "bye"]


class TestSending:
    def test_what_is_taken_whole_moves_the_cursor(self, owner: FakeOwner) -> None:
        connection = FakeSocket()
        made = live_wire(connection, owner)
        assert made.push(FIRST)
        assert made.push(SECOND)
        assert (connection.taken, made.cursor, made.live) == (FIRST.data + SECOND.data, 4, True)
        assert owner.counters.bytes == len(connection.taken)

    def test_an_empty_chunk_moves_the_cursor_and_sends_nothing(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=0)
        made = live_wire(connection, owner)
        assert made.push(chunk(0, 9, b"", 0))
        assert (made.cursor, made.live, connection.taken) == (9, True, b"")

    @pytest.mark.parametrize("after", [2, 4])
    def test_a_chunk_that_does_not_begin_at_its_cursor_is_refused(self, owner: FakeOwner, after: int) -> None:
        connection = FakeSocket()
        made = live_wire(connection, owner, after=3)
        assert not made.push(chunk(after, 5, b"x"))
        assert (connection.taken, made.cursor) == (b"", 3)

    def test_nothing_is_pushed_to_one_that_is_behind(self, owner: FakeOwner) -> None:
        connection = FakeSocket()
        assert not readers.wire(connection, owner).push(FIRST)
        assert connection.taken == b""

    def test_the_rest_of_one_chunk_waits_and_the_cursor_is_behind_it(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        assert not made.push(FIRST)
        assert (made.cursor, made.live, made.can_send()) == (3, False, False)
        assert (owner.held, owner.counters.slow_now, owner.counters.fell_behind) == ([made], 1, 1)
        assert not made.push(SECOND)
        drain(made, connection)
        assert connection.taken == FIRST.data
        assert (owner.held, owner.to_catch_up, owner.counters.slow_now) == ([], [made], 0)
        assert made.can_send()

    def test_a_chunk_of_which_a_part_is_on_its_way_counts_as_delivered_once(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        made.push(FIRST)
        drain(made, connection)
        assert owner.counters.deliveries == FIRST.events

    def test_what_was_not_taken_at_all_is_not_kept_and_does_not_move_the_cursor(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=0)
        made = live_wire(connection, owner)
        assert not made.push(FIRST)
        assert (made.cursor, made.live, owner.held, owner.counters.deliveries) == (0, False, [made], 0)
        drain(made, connection)
        assert connection.taken == b""
        assert owner.to_catch_up == [made]

    def test_it_drains_piece_by_piece_and_asks_to_be_caught_up_only_at_the_end(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=1)
        made = live_wire(connection, owner)
        made.push(FIRST)
        for place in range(2, len(FIRST.data) + 1):
            assert owner.to_catch_up == []
            drain(made, connection, room=1)
            assert connection.taken == FIRST.data[:place]
        assert owner.to_catch_up == [made]

    def test_a_false_alarm_changes_nothing(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=1)
        made = live_wire(connection, owner)
        made.push(FIRST)
        since = made.blocked_since
        drain(made, connection, room=0)
        assert (made.blocked_since, owner.held, connection.taken) == (since, [made], FIRST.data[:1])

    def test_progress_is_remembered_and_standing_still_is_too(
        self, owner: FakeOwner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection, now = FakeSocket(room=1), [100.0]
        own_time(monkeypatch, "app.stream.socket_transport", monotonic=lambda: now[0])
        made = live_wire(connection, owner)
        made.push(FIRST)
        assert made.blocked_since == 100.0
        now[0] = 110.0
        drain(made, connection, room=0)
        assert made.blocked_since == 100.0
        drain(made, connection, room=1)
        assert made.blocked_since == 110.0
        drain(made, connection)
        assert made.blocked_since is None

    def test_a_control_frame_never_goes_between_the_halves_of_a_chunk(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        made.push(FIRST)
        connection.room = None
        made.send_control(BEAT)
        made.on_writable()
        made.send_control(BEAT)
        assert connection.taken == FIRST.data + BEAT

    @pytest.mark.parametrize("room", [0, 7])
    def test_a_control_frame_that_does_not_fit_waits_whole(self, owner: FakeOwner, room: int) -> None:
        connection = FakeSocket(room)
        made = live_wire(connection, owner)
        made.send_control(BEAT)
        made.send_control(BEAT)
        assert not made.live
        drain(made, connection)
        assert connection.taken == BEAT

    def test_falling_behind_asks_to_be_caught_up(self, owner: FakeOwner) -> None:
        made = live_wire(FakeSocket(), owner)
        made.mark_lagging()
        assert (made.live, owner.to_catch_up) == (False, [made])

    @given(st.lists(st.integers(0, 200_000), max_size=20), st.lists(st.integers(1, 100_000), min_size=1, max_size=20))
    def test_however_much_comes_it_holds_the_rest_of_one_chunk(self, rooms: list[int], sizes: list[int]) -> None:
        owner, connection = FakeOwner(), FakeSocket(room=0)
        made, sent = live_wire(connection, owner), b""
        for number, size in enumerate(sizes):
            connection.room = rooms.pop() if rooms else 0
            made.on_writable()
            made.live = made.can_send()
            data = b"%d" % (number % 10) * size
            before = made.cursor
            made.push(Chunk(data, before, before + 1, 1))
            sent += data if made.cursor > before else b""
            assert len(made._rest or b"") <= max(MAX_CHUNK_BYTES, *sizes)
            assert sent == connection.taken + bytes(made._rest or b"")


class TestEnding:
    @pytest.mark.parametrize("reason", ["drain", "lifetime", "revoked", "flag-off", "slow"])
    def test_goodbye_goes_out_and_the_socket_is_closed_at_once(self, owner: FakeOwner, reason: CloseReason) -> None:
        connection, ended = FakeSocket(), list[str]()
        made = readers.wire(connection, owner, on_end=lambda: ended.append("ended"))
        made.close(reason)
        assert byes(connection.taken) == [reason]
        assert (connection.calls, owner.forgotten, made.fd) == (["shutdown", "close"], [reason], -1)

    @pytest.mark.parametrize("reason", ["drain", "lifetime", "flag-off"])
    def test_goodbye_waits_for_what_is_held_but_not_long(
        self, owner: FakeOwner, reason: CloseReason, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own_time(monkeypatch, "app.stream.socket_transport", monotonic=lambda: 100.0)
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        made.push(FIRST)
        made.close(reason)
        assert (owner.forgotten, made.ends_at) == ([], 100.0 + CLOSE_GRACE_S)
        drain(made, connection)
        assert connection.taken.startswith(FIRST.data)
        assert (byes(connection.taken), owner.forgotten, owner.to_catch_up) == ([reason], [reason], [])

    @pytest.mark.parametrize("reason", ["revoked", "slow"])
    def test_a_revocation_and_standing_still_do_not_wait(self, owner: FakeOwner, reason: CloseReason) -> None:
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        made.push(FIRST)
        made.close(reason)
        assert (owner.forgotten, connection.taken) == ([reason], FIRST.data[:5])
        assert (owner.held, owner.counters.slow_now) == ([], 0)

    def test_a_revocation_does_not_wait_for_an_earlier_goodbye(self, owner: FakeOwner) -> None:
        made = live_wire(FakeSocket(room=5), owner)
        made.push(FIRST)
        made.close("drain")
        made.close("revoked")
        assert owner.forgotten == ["drain"]

    def test_the_goodbye_of_a_slow_reader_goes_out_if_it_fits_behind_the_rest(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        made.push(FIRST)
        connection.room = None
        made.close("slow")
        assert connection.taken.startswith(FIRST.data)
        assert byes(connection.taken) == ["slow"]

    @pytest.mark.parametrize("room", range(1, 60))
    def test_what_does_not_fit_is_a_frame_that_the_client_throws_away(self, owner: FakeOwner, room: int) -> None:
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        made.push(FIRST)
        connection.room = room
        made.close("slow")
        parser = Parser()
        names = [frame.event for frame in parser.feed(connection.taken)]
        assert names in ([], ["message"], ["message", "bye"])

    def test_nothing_is_sent_after_goodbye(self, owner: FakeOwner) -> None:
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        made.push(FIRST)
        made.close("drain")
        made.close("lifetime")
        connection.room = None
        assert not made.push(SECOND)
        made.send_control(BEAT)
        made.on_writable()
        assert byes(connection.taken) == ["drain"]
        assert b"id: 4" not in connection.taken

    def test_ending_twice_is_ending_once(self, owner: FakeOwner) -> None:
        connection = FakeSocket()
        made = live_wire(connection, owner)
        made.end("error")
        made.end("drain")
        made.close("drain")
        made.finish()
        assert (owner.forgotten, connection.calls) == (["error"], ["shutdown", "close"])

    def test_ending_while_something_is_held_counts_it_no_longer(self, owner: FakeOwner) -> None:
        made = live_wire(FakeSocket(room=5), owner)
        made.push(FIRST)
        made.end("client-gone")
        assert (owner.counters.slow_now, made.blocked_since, made.can_send(), made.live) == (0, None, False, False)

    @pytest.mark.parametrize("act", ["push", "say", "drain", "read"])
    def test_a_gone_peer_ends_it(self, owner: FakeOwner, act: str) -> None:
        connection = FakeSocket(room=5)
        made = live_wire(connection, owner)
        if act == "drain":
            made.push(FIRST)
        connection.gone = ConnectionResetError()
        acts = {
            "push": lambda: made.push(FIRST),
            "say": lambda: made.send_control(BEAT),
            "drain": made.on_writable,
            "read": made.on_readable,
        }
        acts[act]()
        assert (owner.forgotten, connection.calls[-1], made.fd) == (["client-gone"], "close", -1)
        assert (owner.held, owner.counters.slow_now) == ([], 0)

    def test_what_the_client_says_is_thrown_away_and_its_end_is_the_end(self, owner: FakeOwner) -> None:
        connection = FakeSocket()
        connection.incoming = [b"GET / HTTP/1.1\r\n\r\n", b""]
        made = live_wire(connection, owner)
        made.on_readable()
        assert (owner.forgotten, connection.taken) == ([], b"")
        made.on_readable()
        assert owner.forgotten == ["client-gone"]

    def test_what_the_client_said_is_read_before_its_socket_is_closed(self, owner: FakeOwner) -> None:
        """Else the kernel closes with a reset, which may overtake the goodbye."""
        connection = FakeSocket()
        connection.incoming = [b"what is this?"]
        live_wire(connection, owner).close("drain")
        assert connection.incoming == []

    def test_nothing_to_read_is_no_end(self, owner: FakeOwner) -> None:
        live_wire(FakeSocket(), owner).on_readable()
        assert owner.forgotten == []


class TestHttpChunks:
    """A reader of HTTP/1.1: whatever is sent is in chunks, the last one says that the stream ended in order."""

    def modern(self, connection: FakeSocket, owner: FakeOwner) -> SocketSubscriber:
        made = readers.wire(connection, owner, in_http_chunks=True)
        made.live = True
        return made

    def test_everything_behind_the_head_is_in_chunks(self, owner: FakeOwner) -> None:
        connection, dechunker = FakeSocket(), Dechunker()
        made = self.modern(connection, owner)
        made.begin(b"HEAD\r\n\r\n", b"event: hello\ndata: {}\n\n")
        made.send_control(BEAT)
        made.close("drain")
        head, _, body = connection.taken.partition(b"\r\n\r\n")
        names = [frame.event for frame in parse(dechunker.feed(body))]
        assert (head, names) == (b"HEAD", ["hello", "heartbeat", "bye"])
        assert (dechunker.ended, dechunker.rest) == (True, b"")
        assert dechunker.sizes[1] == len(BEAT)

    @pytest.mark.parametrize("reason", ["drain", "lifetime", "revoked", "flag-off", "slow"])
    def test_the_last_chunk_follows_a_goodbye_that_waited(self, owner: FakeOwner, reason: CloseReason) -> None:
        connection, dechunker = FakeSocket(room=5), Dechunker()
        made = self.modern(connection, owner)
        made.push(MODERN)
        connection.room = None
        made.close(reason)
        made.on_writable()
        assert byes(dechunker.feed(connection.taken)) == [reason]
        assert dechunker.ended

    @pytest.mark.parametrize("reason", ["client-gone", "error", "drain"])
    def test_a_stream_that_is_cut_has_no_last_chunk(self, owner: FakeOwner, reason: str) -> None:
        connection = FakeSocket()
        made = self.modern(connection, owner)
        made.push(MODERN)
        made.end(reason)
        assert connection.taken == MODERN.data

    @pytest.mark.parametrize("room", range(1, 90))
    def test_what_does_not_fit_is_an_end_that_was_not_in_order(self, owner: FakeOwner, room: int) -> None:
        connection, dechunker = FakeSocket(room=5), Dechunker()
        made = self.modern(connection, owner)
        made.push(MODERN)
        connection.room = room
        made.close("slow")
        names = [frame.event for frame in Parser().feed(dechunker.feed(connection.taken))]
        assert names in ([], ["message"], ["message", "bye"])
        assert dechunker.ended <= (names == ["message", "bye"])

    def test_a_chunk_that_is_cut_by_the_kernel_is_finished_before_anything_else(self, owner: FakeOwner) -> None:
        for room in range(1, len(MODERN.data)):
            connection, dechunker = FakeSocket(room), Dechunker()
            made = self.modern(connection, owner)
            made.push(MODERN)
            made.send_control(BEAT)
            drain(made, connection)
            made.send_control(BEAT)
            assert [frame.event for frame in parse(dechunker.feed(connection.taken))] == ["message", "heartbeat"]


class TestOverTcp:
    def test_a_client_that_stands_still_gets_all_when_it_reads_on(self, owner: FakeOwner) -> None:
        with tcp_pair() as (ours, client):
            made, number = readers.wire(ours, owner), 0
            made.live = True
            while made.live:
                made.push(Chunk(b"id: %d\ndata: %s\n\n" % (number + 1, b"x" * 3_000), number, number + 1, 1))
                number += 1
            got, parser = list[str](), Parser()
            while len(got) < made.cursor:
                if made.blocked_since is not None:
                    made.on_writable()
                got += [frame.id or "" for frame in parser.feed(client.recv(65_536))]
            assert got == [str(one) for one in range(1, made.cursor + 1)]
            assert parser.is_between_frames

    def test_the_goodbye_arrives_though_the_client_has_said_something_unread(self, owner: FakeOwner) -> None:
        with tcp_pair() as (ours, client):
            client.sendall(b"what is this?" * 100)
            made = readers.wire(ours, owner)
            made.send_control(BEAT)
            assert ours.recv(1, socket.MSG_PEEK)  # it has arrived
            made.close("drain")
            assert byes(read_to_end(client)) == ["drain"]

    def test_a_client_that_closed_is_met_as_the_end(self, owner: FakeOwner) -> None:
        with tcp_pair() as (ours, client):
            made = readers.wire(ours, owner)
            client.shutdown(socket.SHUT_WR)
            ours.setblocking(True)  # wait for it instead of looking again and again
            made.on_readable()
            assert owner.forgotten == ["client-gone"]
