"""Formats numbers, states and events as text; `app.reconciliation.finding_text` describes what is wrong."""

import json
from collections.abc import Mapping
from typing import Any

STATE_WORDS = {
    "verified": "Verified",
    "discrepancy": "Discrepancy",
    "stale": "Stale",
    "unknown": "Not checked yet",
    "queued": "Queued",
    "running": "Running",
    "success": "Done",
    "error": "Failed",
    "timeout": "No answer",
    "info": "Message",
    "warning": "Warning",
    "critical": "Critical",
    "event": "Event",
}

# The most important state first, whatever a kind of service calls it (`running` or `started`); other states follow by
# name. A tile has room for four.
_STATE_ORDER = ("queued", "running", "started", "failed", "stuck", "retrying", "succeeded", "finished", "scheduled")
_STATE_LABELS = {"queued": "waiting", "succeeded": "done"}

MAX_EVENT_CHARS = 160


def sort_counts(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts as (state, number), the most important state first."""

    def sort_key(state: str) -> tuple[int, str]:
        return (_STATE_ORDER.index(state) if state in _STATE_ORDER else len(_STATE_ORDER), state)

    return [(state, counts[state]) for state in sorted(counts, key=sort_key)]


def state_label(state: str) -> str:
    return _STATE_LABELS.get(state, state.replace("_", " "))


def abbreviate_number(number: int) -> str:
    """At most five characters, so that four numbers fit next to each other: `9,999`, `12.3k`, `123k`, `1.2M`."""
    if number < 10_000:
        return f"{number:,}"
    for size, unit in ((1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G")):
        scaled = number / size
        if scaled < 999.5:  # above, it would round to four digits
            return f"{scaled:.1f}{unit}" if scaled < 99.95 else f"{scaled:.0f}{unit}"
    return "many"


def format_duration(seconds: float) -> str:
    """Two units at most: `0.4 s`, `12 s`, `2 min 5 s`, `1 h 3 min`, `2 d 4 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, smaller_size, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def format_counts(counts: Mapping[str, int]) -> str:
    """`12 waiting · 3 running · 14 failed`."""
    return " · ".join(f"{number:,} {state_label(state)}" for state, number in sort_counts(counts)) or "no jobs"


def format_event(data: Mapping[str, Any]) -> str:
    """A publisher's payload as `name value` pairs, cut to one line."""
    text = " · ".join(f"{name} {_plain(value)}" for name, value in data.items() if name != "service")
    return text if len(text) <= MAX_EVENT_CHARS else text[: MAX_EVENT_CHARS - 1] + "…"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
