"""Why a command is not taken on, said in a way that tells what to do; and that somebody tried, in the audit."""

from typing import Any
from urllib.parse import quote

from app.audit import attempt_log, chain
from app.commands.request import Asked
from app.db import write
from app.infra.problems import Problem, build_retry_after


class Refused(Problem):
    """Nothing was done and nothing will be. `reason` says which refusal it is, for programs."""

    def __init__(self, status: int, title: str, detail: str, reason: str, **members: Any) -> None:
        super().__init__(status, title, detail, reason=reason, **members)
        self.reason = reason


def other_body() -> Refused:
    detail = "This commandId was used for something else. Send the same body again, or make a new commandId."
    return Refused(422, "Another command", detail, "command-id")


def not_watched(service_id: str) -> Refused:
    detail = f"Beacon watches no service {service_id}; /services/registered lists those that it does."
    return Refused(404, "No such service", detail, "service")


def cannot(detail: str) -> Refused:
    return Refused(409, "Not possible here", f"{detail[:1].upper()}{detail[1:]}.".replace("..", "."), "capability")


def overlapping(command_id: str, what: str) -> Refused:
    detail = f"Another command, {what}, is under way there. Look at it, and send this again once it has ended."
    link = f"/commands/{quote(command_id, safe='')}"
    return Refused(409, "Under way already", detail, "overlap", link=link, commandId=command_id)


def grown(new: int, since: str, actual: int) -> Refused:
    detail = f"{new:,} new since {since}: there are {actual:,} jobs now. Look again, and send the count you see then."
    return Refused(409, "More than you saw", detail, "grown", actualCount=actual, newCount=new)


def nothing_there() -> Refused:
    return Refused(409, "Nothing to do", "There is no such job any more. Look again.", "empty")


def too_many_jobs(total: int, most: int) -> Refused:
    detail = f"{total:,} jobs fit and one command takes {most:,}. Narrow the filter, by queue or by olderThan."
    return Refused(409, "Too many at once", detail, "too-many")


def too_many_commands(whose: str, most: int) -> Refused:
    detail = f"{whose} at most {most} commands that have not ended. Wait for one of them, and send this again."
    return Refused(429, "Too many commands", detail, "limit", headers=build_retry_after(2, 5))


def record(problem: Problem, asked: Asked, actor: str, address: str | None) -> None:
    """A failure in the audit: the first of its minute in full, the others counted, so that no loop can fill it."""
    target = audit_target(asked.service, asked.words)
    reason = problem.members.get("reason", problem.title)
    entry = chain.Entry(
        actor,
        asked.action_type,
        target,
        outcome="failure",
        command_id=asked.command_id,
        params=asked.model_dump(mode="json", by_alias=True, exclude_none=True),
        logs=[f"refused ({problem.status} {reason}): {problem.detail}"],
        origin=address,
    )
    attempt = attempt_log.Attempt(asked.action_type, actor, target, attempt_log.network(address or ""))
    with write() as session:
        attempt_log.note(session, attempt, full=entry)


def audit_target(service_id: str, words: str) -> str:
    return service_id if words == service_id else f"{service_id}/{words}"
