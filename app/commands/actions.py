"""The actions of commands, and everything that depends on which of them it is. Only sources compare their names."""

from dataclasses import dataclass
from typing import Literal

from app.sources.protocol import FAILED_STATES, ActionName

Scope = Literal["job", "queue", "service"]
# The lock key of a whole service.
SERVICE_LOCK = "service"


@dataclass(frozen=True, slots=True)
class Action:
    """What a command does to each of its targets.

    `label` is on its button, with `hint` as its title; `progress` stands there while it runs, and `outcome` begins the
    description of a verified one. `scope` is what a target is. The call to the service can have no effect after
    `call_timeout_s`; its effect is looked for during `confirm_timeout_s`. A destructive action removes jobs, or what a
    service keeps in memory: it is reviewed before it is sent, and explains why jobs are gone. `requeues`: the jobs run
    again, so they are followed for a while, and the service itself rejects a second one. `takes_one`: a command has
    exactly one target. `states`: those in which a job is offered it; None is any.
    """

    name: ActionName
    label: str
    progress: str
    scope: Scope
    call_timeout_s: float = 15.0
    confirm_timeout_s: float = 10.0
    outcome: str = ""
    hint: str = ""
    is_destructive: bool = False
    requeues: bool = False
    takes_one: bool = False
    states: frozenset[str] | None = None

    def is_offered_in(self, state: str) -> bool:
        return self.states is None or state.lower() in self.states


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("retry-job", "Retry", "retrying", "job", outcome="queued again", requeues=True, states=FAILED_STATES),
        Action(
            "promote-job",
            "Promote",
            "promoting",
            "job",
            outcome="moved to the front of its queue",
            hint="Move it to the front of its queue",
            takes_one=True,
            states=frozenset({"queued"}),
        ),
        Action("delete-job", "Delete", "deleting", "job", is_destructive=True),
        Action("purge-queue", "Purge", "purging", "queue", call_timeout_s=30.0, is_destructive=True, takes_one=True),
        Action(
            "restart-service",
            "Restart",
            "restarting",
            "service",
            call_timeout_s=30.0,
            confirm_timeout_s=20.0,
            is_destructive=True,
        ),
    )
}


def lock_key(scope: Literal["job", "queue"], target: str) -> str:
    """What no two open commands on a service may share."""
    return f"{scope}:{target}"
