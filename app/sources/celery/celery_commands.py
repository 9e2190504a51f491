"""Commands for Celery, which only change its queues: waiting tasks can be removed, tasks that a worker took cannot.

A worker can be told to skip a task (`revoke`), but Celery then overwrites the task's result with REVOKED at once, even
if the task runs or has ended, and Beacon would show a wrong state. So that is refused, and so is everything that needs
the arguments of a task that has left its queue. `control.purge()` would empty all queues of the app; here only one
queue's lists are emptied.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from app.sources.celery.broker import Broker, BrokerSnapshot
from app.sources.celery.results import ENDS
from app.sources.protocol import JobFilter, Operation, OperationResult, Selection, Unsupported
from app.sources.redis.client import RedisServer
from app.sources.redis.redis_commands import MAX_PURGED, ScriptResult, ScriptRunner, preliminary_read

# Like `messages.py`, this reads only a message's id, nothing of its arguments.
_ID = """
local function id_of(raw)
    local read, message = pcall(cjson.decode, raw)
    if not read or type(message) ~= 'table' then return nil end
    local headers, properties = message.headers, message.properties
    local id = type(headers) == 'table' and headers.id
    if type(id) ~= 'string' then id = type(properties) == 'table' and properties.correlation_id end
    return type(id) == 'string' and id or nil
end
"""
_COUNT = """
local count = 0
for place = 2, #KEYS do count = count + redis.call('LLEN', KEYS[place]) end
"""

# KEYS: the lists of one queue. ARGV: 3 how many messages there may be, 4 how many a script may remove, 5 how many ids
# the stored answer may list.
PURGE = (
    _ID
    + _COUNT
    + """
if count > tonumber(ARGV[3]) then return {'grew', tostring(count)} end
if count > tonumber(ARGV[4]) then return {'too-many', tostring(count)} end
local failed = begin()
if failed then return failed end
local ids = {}
for place = 2, #KEYS do
    for _, raw in ipairs(redis.call('LRANGE', KEYS[place], 0, -1)) do ids[#ids + 1] = id_of(raw) end
    redis.call('DEL', KEYS[place])
end
local effect = {purged = count}
if #ids > 0 and #ids <= tonumber(ARGV[5]) then effect.jobIds = ids end
keep(effect)
if #ids > 0 then effect.jobIds = ids end
return {'done', cjson.encode(effect)}
"""
)

# KEYS: the lists of every watched queue. ARGV: 3 the id, 4 how many messages a script may read.
DELETE = (
    _ID
    + _COUNT
    + """
if count > tonumber(ARGV[4]) then return {'too-many', tostring(count)} end
local found = {}
for place = 2, #KEYS do
    for _, raw in ipairs(redis.call('LRANGE', KEYS[place], 0, -1)) do
        if string.find(raw, ARGV[3], 1, true) and id_of(raw) == ARGV[3] then found[#found + 1] = {KEYS[place], raw} end
    end
end
if #found == 0 then return {'absent'} end
local failed = begin()
if failed then return failed end
for _, each in ipairs(found) do redis.call('LREM', each[1], 0, each[2]) end
local effect = {state = 'deleted', was = 'queued'}
keep(effect)
return {'done', cjson.encode(effect)}
"""
)

ALREADY_TAKEN = (
    "A worker has taken the task. Beacon does not revoke it, because Celery would overwrite the result of a running or "
    "ended task; you can do that with celery control revoke."
)
_ABSENT = OperationResult("absent", "No watched queue has this task.")
_REFUSAL_TEXTS: Mapping[str, Callable[..., str]] = {
    "late": lambda: "The command did not start before its deadline and will not be executed.",
    "grew": lambda count: f"The queue now has {int(count):,} tasks, more than you saw.",
    "too-many": lambda count: f"There are {int(count):,} tasks; at most {MAX_PURGED:,} can be processed at once.",
}


class CeleryCommands:
    """Executes commands on Celery's queues. For one thread at a time."""

    def __init__(self, server: RedisServer, broker: Broker, prefix: str) -> None:
        self._server, self._broker = server, broker
        self._scripts = ScriptRunner(server, _describe_result, prefix)

    def execute(self, operation: Operation) -> OperationResult:
        return self._purge(operation) if operation.action == "purge-queue" else self._delete(operation)

    def resolve_outcome(self, operation: Operation, asked_at: datetime) -> OperationResult | None:
        found = self._scripts.find_result(operation, asked_at)
        return None if found is None else _describe_result(operation, found)

    def verify_effect(self, operation: Operation, asked_at: datetime) -> bool:
        """Check the queues for the effect that the stored answer describes."""
        found = self._scripts.find_result(operation, asked_at)
        if found is None or found.word != "done":
            return False
        with self._server.reading() as client:
            snapshot = self._broker.read_snapshot(client)
            if operation.action == "delete-job":
                return not snapshot.hides(None) and operation.target not in snapshot
            job_ids = found.effect.get("jobIds")
            if isinstance(job_ids, list) and snapshot.is_complete:
                return snapshot.queued.keys().isdisjoint(job_ids)
            return not any(client.llen(key) for key in self._broker.list_keys(operation.target))

    def select(self, wanted: JobFilter, limit: int) -> Selection:
        """Select tasks. `total` counts messages like a purge does, including unreadable ones."""
        with self._server.reading() as client:
            snapshot = self._broker.read_snapshot(client)
            as_of = snapshot.as_of or datetime.now(UTC)
            if wanted.state in ("scheduled", "reserved"):
                ids = _select_taken(snapshot, wanted, as_of.timestamp())
                total = snapshot.counts["reserved"] if snapshot.taken_cut else len(ids)
                return Selection(as_of, total, tuple(ids[:limit]))
            if wanted.state != "queued" or wanted.older_than is not None:
                raise Unsupported(_explain_no_list(wanted))
            total = sum(client.llen(key) for key in self._broker.list_keys(wanted.queue))
        ids = [task_id for task_id, (queue, _) in snapshot.queued.items() if wanted.queue in (None, queue)]
        return Selection(as_of, total, tuple(ids[:limit]))

    def _purge(self, operation: Operation) -> OperationResult:
        keys = self._broker.list_keys(operation.target)
        if not keys:
            return OperationResult("absent", "Beacon does not watch this queue.")
        return self._scripts.purge(operation, PURGE, keys)

    def _delete(self, operation: Operation) -> OperationResult:
        done = self._scripts.run(operation, DELETE, self._broker.list_keys(), operation.target, MAX_PURGED)
        if done.outcome != "absent":
            return done
        with preliminary_read(self._server, operation) as client:  # nothing was changed, so this may fail
            taken = operation.target in self._broker.read_snapshot(client).taken
        return OperationResult("refused", ALREADY_TAKEN) if taken else done


def _explain_no_list(wanted: JobFilter) -> str:
    if wanted.state == "queued":
        return "does not report since when its tasks wait"
    if wanted.state in ENDS.values():
        return f"keeps no list of ended tasks, so {wanted.state} tasks cannot be shown"
    return f"does not report which tasks are {wanted.state[:40]}"


def _select_taken(snapshot: BrokerSnapshot, wanted: JobFilter, now: float) -> list[str]:
    before = None if wanted.older_than is None else wanted.older_than.timestamp()
    return [
        task_id
        for task_id, taken in snapshot.taken.items()
        if taken.message.state_at(now) == wanted.state
        and wanted.queue in (None, taken.message.route)
        and (before is None or (taken.at is not None and taken.at < before))
    ]


def _describe_result(operation: Operation, result: ScriptResult) -> OperationResult:
    if result.word == "absent":
        return _ABSENT
    if result.word != "done":
        return OperationResult("refused", _REFUSAL_TEXTS[result.word](*result.about))
    return OperationResult("done", _describe_effect(operation, result.effect), result.effect)


def _describe_effect(operation: Operation, effect: Mapping[str, Any]) -> str:
    if operation.action == "purge-queue":
        return f"{effect.get('purged', 0):,} tasks were removed. Those that workers had taken stay."
    return "It was removed from its queue."
