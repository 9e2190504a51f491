"""The reasons for rejecting a command, each saying what to do next, and their audit entries."""

from typing import Any
from urllib.parse import quote

from app.audit import attempt_log, chain
from app.commands.request import CommandRequest
from app.db import write
from app.infra.problems import Problem, build_retry_after


class CommandRejected(Problem):
    """Nothing was done and nothing will be. `reason` identifies the rejection for programs."""

    def __init__(self, status: int, title: str, detail: str, reason: str, **members: Any) -> None:
        super().__init__(status, title, detail, reason=reason, **members)
        self.reason = reason


def reused_id_error() -> CommandRejected:
    detail = (
        "This commandId was already used for a different command. Send the same body again, or use a new commandId."
    )
    return CommandRejected(422, "Command id already used", detail, "command-id")


def not_watched_error(service_id: str) -> CommandRejected:
    detail = f"Beacon watches no service {service_id}. /services/registered lists the watched services."
    return CommandRejected(404, "No such service", detail, "service")


def unsupported_error(detail: str) -> CommandRejected:
    sentence = f"{detail[:1].upper()}{detail[1:]}.".replace("..", ".")
    return CommandRejected(409, "Action not supported", sentence, "capability")


def overlap_error(command_id: str, what: str) -> CommandRejected:
    detail = f"Another command is in progress: {what}. Wait until it has ended, then send this again."
    link = f"/commands/{quote(command_id, safe='')}"
    return CommandRejected(409, "Conflicting command in progress", detail, "overlap", link=link, commandId=command_id)


def count_grown_error(new: int, since: str, actual: int) -> CommandRejected:
    detail = f"{new:,} new since {since}: there are {actual:,} jobs now. Look again, and send the new count."
    return CommandRejected(409, "Target count changed", detail, "grown", actualCount=actual, newCount=new)


def no_targets_error() -> CommandRejected:
    return CommandRejected(409, "No matching jobs", "None of these jobs exists any more. Look again.", "empty")


def too_many_jobs_error(total: int, most: int) -> CommandRejected:
    detail = f"{total:,} jobs match; one command takes at most {most:,}. Narrow the filter by queue or olderThan."
    return CommandRejected(409, "Too many jobs", detail, "too-many")


def too_many_commands_error(who_may: str, most: int) -> CommandRejected:
    detail = f"{who_may} at most {most} open commands. Wait for one of them to end, then send this again."
    return CommandRejected(429, "Too many commands", detail, "limit", headers=build_retry_after(2, 5))


def record_rejection(problem: Problem, request: CommandRequest, actor: str, address: str | None) -> None:
    """Audit a rejection: the first of each minute in full, repeats as a count, so that no loop floods the audit."""
    target = format_audit_target(request.service, request.summary)
    reason = problem.members.get("reason", problem.title)
    entry = chain.Entry(
        actor,
        request.action_type,
        target,
        outcome="failure",
        command_id=request.command_id,
        params=request.model_dump(mode="json", by_alias=True, exclude_none=True),
        logs=[f"refused ({problem.status} {reason}): {problem.detail}"],
        origin=address,
    )
    attempt = attempt_log.Attempt(request.action_type, actor, target, attempt_log.network_of(address or ""))
    with write() as session:
        attempt_log.record_attempt(session, attempt, full=entry)


def format_audit_target(service_id: str, words: str) -> str:
    return service_id if words == service_id else f"{service_id}/{words}"
