"""Reloads the flags of one process from the database when the event log reports a change."""

import threading
from collections.abc import Callable, Mapping, Sequence

from app.eventlog.reader import Event
from app.flags.document import Rollout
from app.flags.evaluation import Flags, has_flag_change


class FlagSync:
    """A listener of the event log. A failed load is retried until it succeeds: a kill switch must not be missed.

    `on_late` is called after a load that came later than its event: what acted on the old flags must be corrected.
    """

    def __init__(
        self,
        flags: Flags,
        read_rollouts: Callable[[], Mapping[str, Rollout] | str | None],
        on_late: Callable[[], None],
    ) -> None:
        self._flags, self._read_rollouts, self._on_late = flags, read_rollouts, on_late
        self._is_stale = True
        self._lock = threading.Lock()

    def listen(self, events: Sequence[Event], _cursor: int) -> None:
        """Load at the start of the tail and on every flag change. Raises the driver's error; `retry` loads again."""
        if not events or has_flag_change(events):
            self._is_stale = True
            self._load()

    def retry(self) -> None:
        """Load if the last load failed; called about once a second."""
        if self._is_stale and self._load():
            self._on_late()

    def _load(self) -> bool:
        with self._lock:
            if not self._is_stale:
                return False
            self._flags.load(self._read_rollouts())
            self._is_stale = False
            return True
