"""Builds the streaming engine: which of its parts run depends on whether the process has an event loop."""

from collections.abc import Callable

from gevent.monkey import is_module_patched

from app.config import Settings
from app.stream.broadcaster import Broadcaster
from app.stream.catchup import CatchUp
from app.stream.control import Opening
from app.stream.generator_transport import GeneratorStream, StreamTiming
from app.stream.heartbeat import Heartbeats
from app.stream.hub import Hub
from app.stream.replay import ReadLog, Replay
from app.stream.shutdown import GracefulShutdown
from app.stream.socket_loop import SocketLoop


class StreamEngine:
    """A background part. `socket_loop` takes over sockets; it is None in a process without an event loop."""

    def __init__(self, hub: Hub, settings: Settings, read_log: ReadLog, is_degraded: Callable[[], bool]) -> None:
        self.hub = hub
        self._settings, self._is_degraded = settings, is_degraded
        self._replay = Replay(hub, read_log)
        self._broadcaster = Broadcaster(hub)
        self._catchup = CatchUp(hub, self._replay)
        self._heartbeats = Heartbeats(hub, settings.heartbeat_s, self._is_log_away)
        self.socket_loop: SocketLoop | None = None

    def start(self) -> None:
        self._broadcaster.start()
        self._heartbeats.start()
        if is_module_patched("threading"):
            self._catchup.start()
            self.socket_loop = SocketLoop(self.hub, self._catchup, self._heartbeats, self._settings.stream_lifetime_s)
            self.socket_loop.start()

    def stop(self) -> None:
        """Close all open streams with a `bye`; generator streams end by themselves."""
        self.hub.drain()
        if self.socket_loop is not None:
            self.socket_loop.stop()
            self._catchup.stop()
        self._heartbeats.stop()
        self._broadcaster.stop()

    def drain(self) -> None:
        GracefulShutdown(self.hub, self._settings.drain_s).run()

    def open_generator(self, opening: Opening, cut: Callable[[], None] = lambda: None) -> GeneratorStream:
        """Return the stream as an iterator; `cut` closes its connection from outside."""
        rhythm = StreamTiming(self._settings.heartbeat_s, self._settings.stream_lifetime_s)
        return GeneratorStream(self.hub, opening, self._replay, rhythm, self._is_log_away, cut)

    def _is_log_away(self) -> bool:
        return self._is_degraded() or self._replay.log_is_away
