"""The Lua that changes a job. Each script is one step: seen from outside it happened whole or not at all."""

from __future__ import annotations

from typing import Final

# KEYS: job, jobs, status:queued, waiting of the job's priority, waiting of the other one, events, idempotency,
#       the owner's jobs, the owner's queued ones.
# ARGV: id, record, score, limit, event, intake before ("" without a key), intake after, its lifetime in ms.
CREATE: Final = """
local before = ARGV[6]
if before ~= '' and redis.call('GET', KEYS[7]) ~= before then return 'LOST' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'EXISTS' end
if redis.call('ZCARD', KEYS[4]) + redis.call('ZCARD', KEYS[5]) >= tonumber(ARGV[4]) then return 'FULL' end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[8], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[9], ARGV[3], ARGV[1])
redis.call('XADD', KEYS[6], '*', 'event', 'state', 'data', ARGV[5])
if before ~= '' then redis.call('SET', KEYS[7], ARGV[7], 'PX', ARGV[8]) end
return 'OK'
"""

# KEYS: job, status before, status after, waiting, active, events, expiry, dead, the owner's status before and after.
# ARGV: id, record before, record after, status after ("" if unchanged), score of creation, of start, of expiry,
#       event, its data, events kept, reason for giving the job up, dead letters kept. "" stands for none.
UPDATE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
local status = ARGV[4]
if status ~= '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZADD', KEYS[3], ARGV[5], ARGV[1])
  redis.call('ZREM', KEYS[9], ARGV[1])
  redis.call('ZADD', KEYS[10], ARGV[5], ARGV[1])
  if status == 'queued' then redis.call('ZADD', KEYS[4], ARGV[5], ARGV[1])
  else redis.call('ZREM', KEYS[4], ARGV[1]) end
  if status == 'running' then redis.call('ZADD', KEYS[5], ARGV[6], ARGV[1])
  else redis.call('ZREM', KEYS[5], ARGV[1]) end
  if ARGV[7] ~= '' then redis.call('ZADD', KEYS[7], ARGV[7], ARGV[1]) end
end
if ARGV[8] ~= '' then redis.call('XADD', KEYS[6], 'MAXLEN', ARGV[10], '*', 'event', ARGV[8], 'data', ARGV[9]) end
if ARGV[11] ~= '' then redis.call('XADD', KEYS[8], 'MAXLEN', ARGV[12], '*', 'id', ARGV[1], 'reason', ARGV[11]) end
return 1
"""

# KEYS: job, events, every sorted set that it may be in. ARGV: id, record before, tombstone, its lifetime in ms.
ERASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
redis.call('DEL', KEYS[2])
for index = 3, #KEYS do redis.call('ZREM', KEYS[index], ARGV[1]) end
return 1
"""

# KEYS: claim. ARGV: token, lifetime in ms. A claim that was lost with nobody else taking it is taken again.
HOLD: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

# KEYS: claim. ARGV: token.
RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

# KEYS: a string. ARGV: value before, value after, lifetime in ms. "" before: only where there is none.
SWAP: Final = """
local before = redis.call('GET', KEYS[1]) or ''
if before ~= ARGV[1] then return before end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return ARGV[2]
"""

# KEYS: stats. ARGV: seconds of a run, weight of it. The mean forgets slowly: ten runs ago counts a tenth.
MEASURE: Final = """
local mean = tonumber(redis.call('HGET', KEYS[1], 'run_s'))
local run = tonumber(ARGV[1])
if mean then run = mean + tonumber(ARGV[2]) * (run - mean) end
redis.call('HSET', KEYS[1], 'run_s', tostring(run))
return 1
"""
