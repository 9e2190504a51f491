"""View models of commands: which actions a user may take on a service, and a command as pages show it."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from app.accounts.actors import Actor
from app.commands import command_progress, effects
from app.commands.models import CommandRow
from app.reconciliation import registry
from app.reconciliation.models import Service
from app.web.dashboard.view_models import dom_key, service_href

ACTION_LABELS = {"retry-job": "Retry", "delete-job": "Delete", "purge-queue": "Purge", "restart-service": "Restart"}
_PROGRESS_LABELS = {
    "retry-job": "retrying",
    "delete-job": "deleting",
    "purge-queue": "purging",
    "restart-service": "restarting",
}
PHASE_LABELS = {
    "queued": "Queued",
    "running": "Running",
    "unknown": "Being settled",
    "success": "Done",
    "error": "Failed",
    "timeout": "No answer",
}
RETRYABLE_STATES = effects.FAILED_STATES


@dataclass(frozen=True, slots=True)
class ServiceActions:
    """`why_not` maps each unavailable action to the reason. `nonce` makes the command ids on a page without scripts:
    the same button on the same page is the same command."""

    service_id: str
    name: str
    why_not: Mapping[str, str]
    nonce: str

    @classmethod
    def of(cls, who: Actor, service: Service) -> Self:
        if who.has_role("operator"):
            can = registry.capabilities_of(service)
            why_not = {action: why for action in ACTION_LABELS if (why := can.why_not(action))}  # type: ignore[arg-type]
        else:
            why_not = dict.fromkeys(ACTION_LABELS, f"Commands need the role operator; you are {who.role}")
        return cls(service.id, service.name, why_not, secrets.token_hex(8))

    @property
    def form_url(self) -> str:
        """The URL that the forms post to."""
        return f"{service_href(self.service_id)}/commands"

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """`("Retry, Delete", "Commands need the role operator; …")`, one entry for each reason."""
        said: dict[str, list[str]] = {}
        for action, why in self.why_not.items():
            said.setdefault(why, []).append(ACTION_LABELS[action])
        return [(", ".join(verbs), why) for why, verbs in said.items()]


def _last_log_line(logs: Sequence[str], failed: int) -> str:
    """The newest log line; after a failure also the line before it, which has the service's own reason."""
    said = [line for line in logs[-2 if failed else -1 :] if not line.startswith("asking ")]
    return " · ".join(said)


@dataclass(frozen=True, slots=True)
class CommandView:
    """A command's current state; the same for every user, rendered or pushed."""

    id: str
    phase: str
    action: str
    service: str
    target: str
    actor: str
    verified: bool | None
    total: int
    done: int
    failed: int
    last_line: str

    @classmethod
    def of(cls, row: CommandRow) -> Self:
        about = (row.id, row.phase, row.action, row.service_id, row.target, row.actor)
        line = _last_log_line(command_progress.parse_logs(row), row.failed)
        return cls(*about, row.verified, row.total, row.done, row.failed, line)

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> Self:
        progress = data.get("progress") or {}
        return cls(
            data["commandId"],
            data["phase"],
            data.get("actionType") or "",
            data["service"],
            data.get("target") or "",
            data.get("actor") or "",
            data.get("verified"),
            progress.get("total", 1),
            progress.get("done", 0),
            progress.get("failed", 0),
            _last_log_line(data["logs"], progress.get("failed", 0)),
        )

    @property
    def key(self) -> str:
        return dom_key(self.id)

    @property
    def href(self) -> str:
        return f"/commands/{quote(self.id, safe='', errors='replace')}"

    @property
    def state(self) -> str:
        return "timeout" if self.phase == "unknown" else self.phase

    @property
    def icon(self) -> str:
        return self.phase

    @property
    def label(self) -> str:
        """`retrying…` until the command ends."""
        if self.phase in ("queued", "running"):
            return f"{_PROGRESS_LABELS.get(self.action, 'running')}…"
        return PHASE_LABELS[self.phase]

    @property
    def has_ended(self) -> bool:
        return self.phase in ("success", "error", "timeout")

    @property
    def outcome(self) -> str:
        """What was observed, once the command ends; empty before that."""
        return self.last_line if self.has_ended or self.phase == "unknown" else ""

    @property
    def title(self) -> str:
        """`Retry job_1`"""
        verb = ACTION_LABELS.get(self.action, self.action)
        return f"{verb} {self.target}".strip()

    @property
    def percent(self) -> int:
        return 100 * (self.done + self.failed) // max(1, self.total)
