"""What is said of a command as it goes: its log lines, and the event that holds all of it."""

import json
from collections.abc import Iterable

from app.commands.models import CommandRow
from app.eventlog.append import NewEvent
from app.eventlog.event_types import CommandProgress, CommandStatus

# An event holds 64 KiB, and a sign takes up to four bytes.
MAX_LINE = 200
MAX_LINES = 60
FIRST_LINES = 10


def log(row: CommandRow, lines: Iterable[str]) -> None:
    """Add `lines`; of very many the first and the last ones are kept."""
    kept: list[str] = [*logs_of(row), *(_clean(line) for line in lines)]
    if len(kept) > MAX_LINES:
        kept = [*kept[:FIRST_LINES], *kept[FIRST_LINES - MAX_LINES :]]
    row.logs_json = json.dumps(kept, ensure_ascii=False)


def logs_of(row: CommandRow) -> list[str]:
    lines: list[str] = json.loads(row.logs_json or "[]")
    return lines


def event(row: CommandRow) -> NewEvent:
    """The state of the command as it is in this transaction."""
    payload = CommandStatus.model_validate(
        {
            "command_id": row.id,
            "service": row.service_id,
            "phase": row.phase,
            "logs": logs_of(row),
            "verified": row.verified,
            "action_type": row.action,
            "target": row.target,
            "actor": row.actor,
            "progress": CommandProgress(total=row.total, done=row.done, failed=row.failed),
        }
    )
    return NewEvent("command.status", payload)


def _clean(line: str) -> str:
    """Services choose these words: no control signs, no unpaired surrogates, no novels."""
    text = "".join(sign if sign.isprintable() else " " for sign in line)
    return text if len(text) <= MAX_LINE else f"{text[: MAX_LINE - 1]}…"
