"""Executes commands on Redis or Valkey: one atomic script for each, executed once for each idempotency key.

A script first looks for its earlier answer, then checks its deadline by the server's clock. So a command that was
delayed in a frozen process or a socket's buffer does nothing when it arrives too late. If the key holds no answer after
the deadline, nothing was done. The answers, `beacon:order:<key>`, are all that Beacon stores in the server. They expire
after a day.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisError, ResponseError

from app.infra import json_limits
from app.sources.protocol import NotSent, Operation, OperationResult, OutcomeUnknown, SourceError
from app.sources.redis.client import RedisServer, describe_error

# Together with the reads before it, a command ends within 15 s whatever the server does.
COMMAND_TIMEOUT_S = 8.0
ANSWER_LIFETIME = timedelta(days=1)
ANSWER_KEY_PREFIX = "beacon:order:"
# How far the two clocks, compared when the command was sent, can have drifted apart by its deadline.
MAX_CLOCK_DRIFT = timedelta(seconds=1)
_BEGUN = b"begun"
# A script blocks the server, for a few tenths of a second with this many jobs.
MAX_PURGED = 20_000
MAX_STORED_IDS = 1_000

# KEYS[1]: the answer's key. ARGV: 1 the deadline, 2 the answer's lifetime in seconds; each command's own follow.
# Every check must come before `begin`; after it nothing is refused. If the server is out of memory, may not write, or
# is a replica, `begin` fails and nothing has been changed.
PROLOGUE = """
local earlier = redis.call('GET', KEYS[1])
if earlier then return {'done', earlier} end
local time = redis.call('TIME')
if time[1] + time[2] / 1000000 > tonumber(ARGV[1]) then return {'late'} end
local function begin()
    local set = redis.pcall('SET', KEYS[1], 'begun', 'EX', ARGV[2])
    return set.err and {'error', set.err}
end
local function keep(effect)
    redis.call('SET', KEYS[1], cjson.encode(effect), 'EX', ARGV[2])
end
"""


class ScriptResult(NamedTuple):
    """A script's answer: `done` with its effect, or the script's word for why not, with its arguments in `about`."""

    word: str
    effect: dict[str, Any]
    about: tuple[str, ...] = ()


@contextlib.contextmanager
def preliminary_read(server: RedisServer, operation: Operation) -> Iterator[redis.Redis]:
    """Yield a client for the reads before a command. If they fail, nothing was sent: raises `NotSent`."""
    try:
        with server.reading(operation.seconds_left(COMMAND_TIMEOUT_S)) as client:
            yield client
    except SourceError as error:
        raise NotSent(error.reason) from error


class ScriptRunner:
    """Runs scripts on one server; `describe` says what their answers mean. For one thread at a time."""

    def __init__(
        self, server: RedisServer, describe: Callable[[Operation, ScriptResult], OperationResult], prefix: str = ""
    ) -> None:
        self._server, self._describe, self._prefix = server, describe, prefix

    def purge(self, operation: Operation, script: str, keys: Sequence[str]) -> OperationResult:
        at_most = MAX_PURGED + 1 if operation.at_most is None else operation.at_most
        return self.run(operation, script, keys, at_most, MAX_PURGED, MAX_STORED_IDS)

    def run(self, operation: Operation, script: str, keys: Sequence[str], *args: str | int) -> OperationResult:
        """Raises `NotSent`, `OutcomeUnknown`."""
        until = datetime.now(UTC) + timedelta(seconds=COMMAND_TIMEOUT_S)
        with preliminary_read(self._server, operation) as client:
            whole, micros = client.time()
        # Measured after the server returned its time, so the deadline by its clock can only be too early.
        wait_s = replace(operation, not_after=until).seconds_left(COMMAND_TIMEOUT_S)
        ends = whole + micros / 1e6 + operation.seconds_left(wait_s)
        common = [f"{ends:.6f}", int(ANSWER_LIFETIME.total_seconds())]
        every = [self._marker_key(operation), *keys]
        try:
            with self._server.reading(wait_s) as client:
                answer: Any = _eval(client, [PROLOGUE + script, len(every), *every, *common, *args])
        except SourceError as error:
            raise OutcomeUnknown(error.reason) from error
        found = _parse_result(answer)
        return found if isinstance(found, OperationResult) else self._describe(operation, found)

    def find_earlier_result(self, operation: Operation) -> ScriptResult | None:
        """Return what was done earlier for the same key. Raises `NotSent`."""
        with preliminary_read(self._server, operation) as client:
            kept: Any = client.get(self._marker_key(operation))
            return None if kept in (None, _BEGUN) else ScriptResult("done", _parse_effect(kept))

    def find_result(self, operation: Operation, asked_at: datetime) -> ScriptResult | None:
        """Return the stored answer; `late` if there is none and there can be none any more. Raises `SourceError`."""
        now = datetime.now(UTC)
        with self._server.reading() as client:
            kept: Any = client.get(self._marker_key(operation))
        if kept is not None:
            return None if kept == _BEGUN else ScriptResult("done", _parse_effect(kept))
        over = operation.not_after is not None and now > operation.not_after + MAX_CLOCK_DRIFT
        return ScriptResult("late", {}) if over and now - asked_at < ANSWER_LIFETIME - MAX_CLOCK_DRIFT else None

    def _marker_key(self, operation: Operation) -> str:
        return f"{self._prefix}{ANSWER_KEY_PREFIX}{operation.key}"


def _eval(client: Any, command: list[Any]) -> Any:
    try:
        return client.execute_command("EVAL", *command)
    except ResponseError as error:
        return error


def _parse_result(answer: Any) -> ScriptResult | OperationResult:
    if isinstance(answer, RedisError):
        # An error inside a script may have occurred after a change. Any other error occurred before the script began.
        if "script" in str(answer):
            raise OutcomeUnknown(describe_error(answer)) from answer
        return _build_refusal(answer)
    if not isinstance(answer, list) or not all(isinstance(part, bytes) for part in answer) or not answer:
        raise OutcomeUnknown("answered with something other than a script's result")
    word, *about = (part.decode(errors="replace") for part in answer)
    if word == "error":
        return _build_refusal(ResponseError("".join(about)))
    if word == "done":
        if answer[1] == _BEGUN:
            raise OutcomeUnknown("stopped in the middle of executing it")
        return ScriptResult(word, _parse_effect(answer[1]))
    return ScriptResult(word, {}, tuple(about))


def _build_refusal(error: RedisError) -> OperationResult:
    return OperationResult("refused", f"Nothing was changed: the server {describe_error(error)}.")


def _parse_effect(kept: bytes) -> dict[str, Any]:
    try:
        found = json_limits.loads(kept.decode(errors="replace").encode())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SourceError("has data under Beacon's key that is not an answer")
    return found
