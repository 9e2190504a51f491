"""View models of commands: which actions a user may take on a service, and a command as pages show it."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from app.accounts.actors import Actor
from app.commands import command_progress
from app.commands.actions import ACTIONS, Action
from app.commands.models import CommandRow
from app.eventlog.event_types import LogKind
from app.reconciliation import registry
from app.reconciliation.models import Service
from app.web.dashboard.view_models import dom_key, service_href

PHASE_LABELS = {
    "queued": "Queued",
    "running": "Running",
    "unknown": "Being settled",
    "success": "Done",
    "error": "Failed",
    "timeout": "No answer",
}


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
        why_not: dict[str, str]
        if who.has_role("operator"):
            can = registry.capabilities_of(service)
            why_not = {action.name: why for action in ACTIONS.values() if (why := can.why_not(action.name))}
        else:
            why_not = dict.fromkeys(ACTIONS, f"Commands need the role operator; you are {who.role}")
        return cls(service.id, service.name, why_not, secrets.token_hex(8))

    @property
    def actions(self) -> Mapping[str, Action]:
        return ACTIONS

    @property
    def form_url(self) -> str:
        """The URL that the forms post to."""
        return f"{service_href(self.service_id)}/commands"

    def reasons(self, names: Collection[str]) -> list[tuple[str, str]]:
        """`("Retry, Delete", "Commands need the role operator; …")`, one entry for each reason of these actions."""
        said: dict[str, list[str]] = {}
        for name, why in self.why_not.items():
            if name in names:
                said.setdefault(why, []).append(ACTIONS[name].label)
        return [(", ".join(verbs), why) for why, verbs in said.items()]


def _last_log_line(log: Sequence[tuple[str, LogKind]], failed: int) -> str:
    """The newest log line; after a failure also the line before it, which has the service's own reason."""
    return " · ".join(line for line, kind in log[-2 if failed else -1 :] if kind != "request")


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
        return cls.from_payload(command_progress.build_status(row).to_wire())

    @classmethod
    def from_payload(cls, data: Mapping[str, Any]) -> Self:
        progress = data.get("progress") or {}
        log = command_progress.pair_with_kinds(data["logs"], data.get("logKinds") or ())
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
            _last_log_line(log, progress.get("failed", 0)),
        )

    @property
    def known_action(self) -> Action | None:
        """None if another version of Beacon had this action."""
        return ACTIONS.get(self.action)

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
            return f"{self.known_action.progress if self.known_action else 'running'}…"
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
        return f"{self.known_action.label if self.known_action else self.action} {self.target}".strip()

    @property
    def percent(self) -> int:
        return 100 * (self.done + self.failed) // max(1, self.total)
