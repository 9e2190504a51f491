"""Decides which queues without a worker to report: each once, until it has been served for an hour. Pure."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import NamedTuple

from app.infra.clock import parse_utc

# A queue whose workers come and go (started by a timer, or crashing again and again) is reported at most this often.
FORGET_AFTER = timedelta(hours=1)
MAX_QUEUES = 2_000

# By queue name: since when it has a worker again, None while it has none.
ReportedQueues = Mapping[str, str | None]


class QueueAlerts(NamedTuple):
    """The queues that count as reported from now on, and those to report now."""

    reported: ReportedQueues
    new: tuple[str, ...] = ()


def update_queue_alerts(reported: ReportedQueues, unserved: Iterable[str], at: str) -> QueueAlerts:
    """Apply an answer of the service. `unserved` are its queues without a worker, in the order to report them."""
    queues = dict.fromkeys(unserved)
    now = parse_utc(at)
    remembered = {
        name: None if name in queues else served_since or at
        for name, served_since in reported.items()
        if served_since is None or now - parse_utc(served_since) < FORGET_AFTER
    }
    new = tuple(name for name in queues if name not in remembered)
    after = {**dict.fromkeys(queues), **remembered}
    return QueueAlerts(dict(list(after.items())[:MAX_QUEUES]), new)
