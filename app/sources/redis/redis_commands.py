"""Orders to whatever lives on Redis or Valkey: one script each, which does all of it or nothing, and once for its key.

A script first looks for the answer that it gave before, then whether it is still in time by the server's own clock. So
an order that was held up on its way, in a frozen process or a socket's buffer, does nothing when it arrives too late,
and a key that holds no answer after that time tells that nothing was done. The answers, `beacon:order:<key>`, are the
only thing that Beacon keeps in the server; they are gone after a day.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisError, ResponseError

from app.infra import json_limits
from app.sources.protocol import Done, NotSent, Order, SourceError, Unsure
from app.sources.redis.client import RedisServer, describe_error

# With the reads before it, an order ends within 15 s whatever the server does.
ACT_S = 8.0
ANSWERS_KEPT = timedelta(days=1)
MARKER = "beacon:order:"
# How far the two clocks, compared when the order was sent, can have come apart by its deadline.
CLOCKS_DRIFT = timedelta(seconds=1)
_BEGUN = b"begun"

# KEYS[1]: the answer's key. ARGV: 1 the deadline, 2 how long the answer is kept; what is each order's own follows.
# Every check comes before `begin`, and after it nothing is refused any more. Where the server is out of memory, may
# not write, or is a copy, `begin` is what fails: nothing has been changed then.
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
    """What a script answered: `done` with its effect, or why not: the script's own word, and what belongs to it."""

    word: str
    effect: dict[str, Any]
    about: tuple[str, ...] = ()


@contextlib.contextmanager
def preliminary_read(server: RedisServer, order: Order) -> Iterator["redis.Redis"]:
    """Reads that come before an order: where they fail, nothing was asked."""
    try:
        with server.reading(order.seconds_left(ACT_S)) as client:
            yield client
    except SourceError as error:
        raise NotSent(error.reason) from error


class ScriptRunner:
    """Runs scripts on one server. For one thread at a time, as the server's connection is."""

    def __init__(self, server: RedisServer, prefix: str = "") -> None:
        self._server, self._prefix = server, prefix

    def run(self, order: Order, script: str, keys: Sequence[str], *args: str | int | bytes) -> ScriptResult | Done:
        """`Done` is a refusal of the server itself. Raises `NotSent` and `Unsure`."""
        until = datetime.now(UTC) + timedelta(seconds=ACT_S)
        with preliminary_read(self._server, order) as client:
            whole, micros = client.time()
        # Measured after the server's own time was told: so the deadline by its clock can only be too early.
        wait_s = replace(order, not_after=until).seconds_left(ACT_S)
        ends = whole + micros / 1e6 + order.seconds_left(wait_s)
        common = [f"{ends:.6f}", int(ANSWERS_KEPT.total_seconds())]
        every = [self._marker_key(order), *keys]
        try:
            with self._server.reading(wait_s) as client:
                answer: Any = _eval(client, [PROLOGUE + script, len(every), *every, *common, *args])
        except SourceError as error:
            raise Unsure(error.reason) from error
        return _parse_result(answer)

    def find_earlier_result(self, order: Order) -> ScriptResult | None:
        """What was done for its key before. Raises `NotSent`."""
        with preliminary_read(self._server, order) as client:
            kept: Any = client.get(self._marker_key(order))
            return None if kept in (None, _BEGUN) else ScriptResult("done", _parse_effect(kept))

    def find_result(self, order: Order, asked_at: datetime) -> ScriptResult | None:
        """The answer that was kept; `late` where there is none and can be none any more. Raises `SourceError`."""
        now = datetime.now(UTC)
        with self._server.reading() as client:
            kept: Any = client.get(self._marker_key(order))
        if kept is not None:
            return None if kept == _BEGUN else ScriptResult("done", _parse_effect(kept))
        over = order.not_after is not None and now > order.not_after + CLOCKS_DRIFT
        return ScriptResult("late", {}) if over and now - asked_at < ANSWERS_KEPT - CLOCKS_DRIFT else None

    def _marker_key(self, order: Order) -> str:
        return f"{self._prefix}{MARKER}{order.key}"


def _eval(client: Any, command: list[Any]) -> Any:
    try:
        return client.execute_command("EVAL", *command)
    except ResponseError as error:
        return error


def _parse_result(answer: Any) -> ScriptResult | Done:
    if isinstance(answer, RedisError):
        # An error inside a script may have come after something was changed; any other came before it began.
        if "script" in str(answer):
            raise Unsure(describe_error(answer)) from answer
        return _build_refusal(answer)
    if not isinstance(answer, list) or not all(isinstance(part, bytes) for part in answer) or not answer:
        raise Unsure("answered something that is not what was asked")
    word, *about = (part.decode(errors="replace") for part in answer)
    if word == "error":
        return _build_refusal(ResponseError("".join(about)))
    if word == "done":
        if answer[1] == _BEGUN:
            raise Unsure("broke off in the middle of it")
        return ScriptResult(word, _parse_effect(answer[1]))
    return ScriptResult(word, {}, tuple(about))


def _build_refusal(error: RedisError) -> Done:
    return Done("refused", f"Nothing was changed: the server {describe_error(error)}.")


def _parse_effect(kept: bytes) -> dict[str, Any]:
    try:
        found = json_limits.loads(kept.decode(errors="replace").encode())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SourceError("has other data under Beacon's key than an answer")
    return found
