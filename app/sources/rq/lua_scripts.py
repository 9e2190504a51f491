"""The commands on RQ's data as atomic Lua scripts.

They write what RQ's own classes would write. Those are not used: `requeue` moves a job in two steps, and both `requeue`
and `delete` unpickle the job's arguments. No callback of a job may run here.
"""

# Deleting a job must not strand its dependents: they would wait forever.
_AWAITED = """
local function awaited(id)
    local waiting = 0
    for _, other in ipairs(redis.call('SMEMBERS', 'rq:job:' .. id .. ':dependents')) do
        if redis.call('HGET', 'rq:job:' .. other, 'status') == 'deferred' then waiting = waiting + 1 end
    end
    return waiting
end
local function forget(id)
    local job = 'rq:job:' .. id
    local group = redis.call('HGET', job, 'group_id')
    if group and group ~= '' then redis.call('SREM', 'rq:group:' .. group, id) end
    redis.call('DEL', job, job .. ':dependents', job .. ':dependencies', 'rq:results:' .. id)
end
"""

# KEYS: 2 job, 3 queue, 4 its failed registry. ARGV: 3 id, 4 origin, 5 the time as RQ writes it.
RETRY = """
local job = redis.call('HMGET', KEYS[2], 'status', 'origin', 'ttl')
if not job[1] then return {'absent'} end
if job[2] ~= ARGV[4] then return {'moved'} end
if redis.call('ZCARD', 'rq:executions:' .. ARGV[3]) > 0 then return {'running'} end
if redis.call('LPOS', KEYS[3], ARGV[3]) then return {'not-failed', 'queued'} end
if not redis.call('ZSCORE', KEYS[4], ARGV[3]) then return {'not-failed', job[1]} end
local failed = begin()
if failed then return failed end
redis.call('ZREM', KEYS[4], ARGV[3])
redis.call('HSET', KEYS[2], 'status', 'queued', 'enqueued_at', ARGV[5], 'started_at', '', 'ended_at', '')
redis.call('HDEL', KEYS[2], 'exc_info')
-- A failed job expires after a time; a queued one only if it has a time to live.
local ttl = tonumber(job[3] or '')
if ttl and ttl > 0 then redis.call('EXPIRE', KEYS[2], ttl) else redis.call('PERSIST', KEYS[2]) end
redis.call('SADD', 'rq:queues', KEYS[3])
redis.call('RPUSH', KEYS[3], ARGV[3])
local effect = {state = 'queued', queue = ARGV[4]}
keep(effect)
return {'done', cjson.encode(effect)}
"""

# KEYS: 2 job, 3 queue. ARGV: 3 id, 4 origin. `passed` is the job that was first before.
PROMOTE = """
local job = redis.call('HMGET', KEYS[2], 'status', 'origin')
if not job[1] then return {'absent'} end
if job[2] ~= ARGV[4] then return {'moved'} end
if not redis.call('LPOS', KEYS[3], ARGV[3]) then return {'not-waiting', job[1]} end
local failed = begin()
if failed then return failed end
local first = redis.call('LINDEX', KEYS[3], 0)
local effect = {state = 'queued', queue = ARGV[4]}
if first ~= ARGV[3] then
    redis.call('LREM', KEYS[3], 1, ARGV[3])
    redis.call('LPUSH', KEYS[3], ARGV[3])
    effect.passed = first
end
keep(effect)
return {'done', cjson.encode(effect)}
"""

# KEYS: 2 job, 3 queue, 4 its intermediate list, then every registry. ARGV: 3 id, 4 origin.
DELETE = (
    _AWAITED
    + """
local job = redis.call('HMGET', KEYS[2], 'status', 'origin')
if not job[1] then return {'absent'} end
if job[2] ~= ARGV[4] then return {'moved'} end
if job[1] == 'started' or redis.call('ZCARD', 'rq:executions:' .. ARGV[3]) > 0 then return {'running'} end
if redis.call('LPOS', KEYS[4], ARGV[3]) then return {'running'} end
local waiting = awaited(ARGV[3])
if waiting > 0 then return {'awaited', tostring(waiting)} end
local failed = begin()
if failed then return failed end
redis.call('LREM', KEYS[3], 0, ARGV[3])
for place = 5, #KEYS do redis.call('ZREM', KEYS[place], ARGV[3]) end
forget(ARGV[3])
local effect = {state = 'deleted', was = job[1], queue = ARGV[4]}
keep(effect)
return {'done', cjson.encode(effect)}
"""
)

# KEYS: 2 queue, then the registries that may still contain its ids from an earlier run.
# ARGV: 3 how many jobs there may be, 4 how many a script may remove, 5 how many ids the stored answer may list.
PURGE = (
    _AWAITED
    + """
local count = redis.call('LLEN', KEYS[2])
if count == 0 and redis.call('SISMEMBER', 'rq:queues', KEYS[2]) == 0 then return {'absent'} end
if count > tonumber(ARGV[3]) then return {'grew', tostring(count)} end
if count > tonumber(ARGV[4]) then return {'too-many', tostring(count)} end
local failed = begin()
if failed then return failed end
local ids = redis.call('LRANGE', KEYS[2], 0, -1)
redis.call('DEL', KEYS[2])
local gone, kept, registries = {}, 0, {}
for place = 3, #KEYS do
    if redis.call('EXISTS', KEYS[place]) == 1 then registries[#registries + 1] = KEYS[place] end
end
for _, id in ipairs(ids) do
    if awaited(id) > 0 or redis.call('ZCARD', 'rq:executions:' .. id) > 0 then
        redis.call('RPUSH', KEYS[2], id)
        kept = kept + 1
    else
        forget(id)
        for _, registry in ipairs(registries) do redis.call('ZREM', registry, id) end
        gone[#gone + 1] = id
    end
end
local effect = {purged = #gone, kept = kept}
if #gone > 0 and #gone <= tonumber(ARGV[5]) then effect.jobIds = gone end
keep(effect)
if #gone > 0 then effect.jobIds = gone end
return {'done', cjson.encode(effect)}
"""
)

# ARGV: 3 the message, then the channels of the workers, then as many names.
RESTART = """
local failed = begin()
if failed then return failed end
local half = (#ARGV - 3) / 2
local told = {}
for n = 1, half do
    if redis.call('PUBLISH', ARGV[3 + n], ARGV[3]) > 0 then told[#told + 1] = ARGV[3 + half + n] end
end
local effect = {told = #told}
if #told > 0 then effect.workers = told end
keep(effect)
return {'done', cjson.encode(effect)}
"""
