"""A command's log lines, and the `command.status` event that carries its current state."""

import json
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from app.commands.models import CommandRow
from app.eventlog.append import NewEvent
from app.eventlog.event_types import CommandProgress, CommandStatus, LogKind

# An event holds 64 KiB, and a character takes up to four bytes.
MAX_LINE_CHARS = 200
MAX_LOG_LINES = 60
KEPT_FIRST_LINES = 10


def append_log(row: CommandRow, lines: Iterable[str], kind: LogKind = "progress") -> None:
    """Append `lines`. Beyond `MAX_LOG_LINES` only the first and the newest lines are kept."""
    kept = [*pair_with_kinds(parse_logs(row), _parse_kinds(row)), *((_clean_line(line), kind) for line in lines)]
    if len(kept) > MAX_LOG_LINES:
        kept = [*kept[:KEPT_FIRST_LINES], *kept[KEPT_FIRST_LINES - MAX_LOG_LINES :]]
    row.logs_json = json.dumps([line for line, _ in kept], ensure_ascii=False)
    row.log_kinds_json = json.dumps([kind for _, kind in kept])


def parse_logs(row: CommandRow) -> list[str]:
    lines: list[str] = json.loads(row.logs_json or "[]")
    return lines


def pair_with_kinds(lines: Sequence[str], kinds: Sequence[LogKind]) -> list[tuple[str, LogKind]]:
    """Lines that were written before kinds were stored, or by an older worker since, are `progress`."""
    return list(zip_longest(lines, kinds[: len(lines)], fillvalue="progress"))


def _parse_kinds(row: CommandRow) -> list[LogKind]:
    kinds: list[LogKind] = json.loads(row.log_kinds_json or "[]")
    return kinds


def build_event(row: CommandRow) -> NewEvent:
    return NewEvent("command.status", build_status(row))


def build_status(row: CommandRow) -> CommandStatus:
    """The command's state as of this transaction."""
    return CommandStatus.model_validate(
        {
            "command_id": row.id,
            "service": row.service_id,
            "phase": row.phase,
            "logs": parse_logs(row),
            "log_kinds": _parse_kinds(row),
            "verified": row.verified,
            "action_type": row.action,
            "target": row.target,
            "actor": row.actor,
            "progress": CommandProgress(total=row.total, done=row.done, failed=row.failed),
        }
    )


def _clean_line(line: str) -> str:
    """Services choose this text: replace control characters and surrogates, and truncate it."""
    text = "".join(char if char.isprintable() else " " for char in line)
    return text if len(text) <= MAX_LINE_CHARS else f"{text[: MAX_LINE_CHARS - 1]}…"
