"""The Lua that changes a job. Each script is one step: seen from outside it happened whole or not at all."""

from __future__ import annotations

from typing import Final

# The score of a waiting job: its round, and within a round the millisecond in which it came. Each owner has one job in
# a round, so owners are served in turn. A new job joins the round that is served, or follows its owner's last one.
_ROUND: Final = """
local ROUND = 2199023255552
local function round_of(key, order)
  local found = redis.call(order, key, 0, 0, 'WITHSCORES')
  return found[2] and math.floor(tonumber(found[2]) / ROUND)
end
"""

# KEYS: job, jobs, status:queued, waiting of the job's priority, waiting of the other one, events, idempotency,
#       the owner's jobs, the owner's queued ones, the owner's waiting ones of the priority, stored bytes, limits.
# ARGV: id, record, score, limit, event, intake before ("" without a key), intake after, its lifetime in ms,
#       owner, most waiting, bytes of the inputs, most bytes, most running. "" stands for none.
CREATE: Final = (
    _ROUND
    + """
local before = ARGV[6]
if before ~= '' and redis.call('GET', KEYS[7]) ~= before then return 'LOST' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'EXISTS' end
local owned = redis.call('ZCARD', KEYS[9])
local bytes = tonumber(ARGV[11])
if ARGV[10] ~= '' and owned >= tonumber(ARGV[10]) then return 'WAITING' end
if ARGV[12] ~= '' and tonumber(redis.call('HGET', KEYS[11], ARGV[9]) or 0) + bytes > tonumber(ARGV[12]) then
  return 'BYTES'
end
local full = redis.call('ZCARD', KEYS[4]) + redis.call('ZCARD', KEYS[5]) >= tonumber(ARGV[4])
if full and (ARGV[9] == '' or owned > 0) then return 'FULL' end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[8], ARGV[3], ARGV[1])
redis.call('ZADD', KEYS[9], ARGV[3], ARGV[1])
local round = round_of(KEYS[4], 'ZRANGE') or 0
local last = round_of(KEYS[10], 'ZREVRANGE')
if last then round = math.max(round, last + 1) end
local place = string.format('%.0f', round * ROUND + math.floor(tonumber(ARGV[3])))
redis.call('ZADD', KEYS[4], place, ARGV[1])
redis.call('ZADD', KEYS[10], place, ARGV[1])
if bytes > 0 and ARGV[9] ~= '' then redis.call('HINCRBY', KEYS[11], ARGV[9], ARGV[11]) end
if ARGV[13] ~= '' then redis.call('HSET', KEYS[12], ARGV[9], ARGV[13]) end
redis.call('XADD', KEYS[6], '*', 'event', 'state', 'data', ARGV[5])
if before ~= '' then redis.call('SET', KEYS[7], ARGV[7], 'PX', ARGV[8]) end
return 'OK'
"""
)

# KEYS: job, status before, status after, waiting, active, events, expiry, dead, the owner's status before and after,
#       the owner's waiting ones of the priority, stored bytes, limits.
# ARGV: id, record before, record after, status after ("" if unchanged), score of creation, of start, of expiry,
#       event, its data, events kept, reason for giving the job up, dead letters kept, owner, bytes more. "" stands for
#       none.
# A job that waits again comes first in the round that is being served. 2: as many of the owner's run as may.
UPDATE: Final = (
    _ROUND
    + """
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
local status = ARGV[4]
if status == 'running' then
  local most = redis.call('HGET', KEYS[13], ARGV[13])
  if most and redis.call('ZCARD', KEYS[10]) >= tonumber(most) then return 2 end
end
redis.call('SET', KEYS[1], ARGV[3])
if status ~= '' then
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZADD', KEYS[3], ARGV[5], ARGV[1])
  redis.call('ZREM', KEYS[9], ARGV[1])
  redis.call('ZADD', KEYS[10], ARGV[5], ARGV[1])
  if status == 'queued' then
    local place = string.format('%.0f', (round_of(KEYS[4], 'ZRANGE') or 0) * ROUND)
    redis.call('ZADD', KEYS[4], place, ARGV[1])
    redis.call('ZADD', KEYS[11], place, ARGV[1])
  else
    redis.call('ZREM', KEYS[4], ARGV[1])
    redis.call('ZREM', KEYS[11], ARGV[1])
  end
  if status == 'running' then redis.call('ZADD', KEYS[5], ARGV[6], ARGV[1])
  else redis.call('ZREM', KEYS[5], ARGV[1]) end
  if ARGV[7] ~= '' then redis.call('ZADD', KEYS[7], ARGV[7], ARGV[1]) end
end
if ARGV[13] ~= '' and ARGV[14] ~= '0' then redis.call('HINCRBY', KEYS[12], ARGV[13], ARGV[14]) end
if ARGV[8] ~= '' then redis.call('XADD', KEYS[6], 'MAXLEN', ARGV[10], '*', 'event', ARGV[8], 'data', ARGV[9]) end
if ARGV[11] ~= '' then redis.call('XADD', KEYS[8], 'MAXLEN', ARGV[12], '*', 'id', ARGV[1], 'reason', ARGV[11]) end
return 1
"""
)

# KEYS: job, events, stored bytes, limits, the owner's jobs, every other sorted set that it may be in.
# ARGV: id, record before, tombstone, its lifetime in ms, owner ("" for none), bytes less.
ERASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
redis.call('DEL', KEYS[2])
for index = 5, #KEYS do redis.call('ZREM', KEYS[index], ARGV[1]) end
if ARGV[5] ~= '' then
  if redis.call('HINCRBY', KEYS[3], ARGV[5], -ARGV[6]) <= 0 then redis.call('HDEL', KEYS[3], ARGV[5]) end
  if redis.call('ZCARD', KEYS[5]) == 0 then redis.call('HDEL', KEYS[4], ARGV[5]) end
end
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
