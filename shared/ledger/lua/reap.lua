-- Bring back what was lost: jobs of dead workers, due retries, messages nobody claimed. End what is too late.
-- ARGV: settings, failures to end a job with: whose workers all died, whose deadline has come, that never started
-- Returns {leases ended, retries due, messages sent again, jobs called off}

local BATCH = 200
local LOOKED_AT = 1000 -- of those that have waited for too long: the next round goes on behind them
local failure, deadline, not_started = ARGV[2], ARGV[3], ARGV[4]
local ended, due, again, off = 0, 0, 0, 0

-- Those that were not started in time. Many may stay: one that comes back from a lost attempt was
-- started in time, and another is held back by its tenant's own limit. They hide no other.
local function call_off_late(pool)
  local waiting, looked = 'waiting:' .. pool, 'reap:looked:' .. pool
  local oldest, place, called_off = now - settings.start_within, tonumber(redis.call('GET', looked) or 0), 0
  local late = redis.call('ZCOUNT', waiting, '-inf', oldest)
  local last = math.min(late, place + LOOKED_AT) - 1
  for _, id in ipairs(place <= last and redis.call('ZRANGE', waiting, place, last) or {}) do
    if called_off == BATCH then break end
    if redis.call('HEXISTS', 'job:' .. id, 'started') == 0 and held_back_until(pool, id) <= oldest
      and call_off(id, 'failed', not_started) then
      called_off = called_off + 1
    else
      place = place + 1
    end
  end
  redis.call('SET', looked, place < late - called_off and place or 0)
  return called_off
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'deadlines', '-inf', now, 'LIMIT', 0, BATCH)) do
  if call_off(id, 'cancelled', deadline) then off = off + 1 end
  redis.call('ZREM', 'deadlines', id) -- also of a record that an operator deleted
end

-- Nobody reaped for a while: Redis was away, and so was everyone who renews. They go first. But not
-- again right after: couriers that are merely slow would never end a lease.
local last = tonumber(redis.call('GET', 'reap:last') or now)
local grace = tonumber(redis.call('GET', 'reap:grace') or 0)
redis.call('SET', 'reap:last', now)
if now - last > settings.lease / 2 and now - grace > settings.lease then
  grace = now + settings.lease
  redis.call('SET', 'reap:grace', grace)
end

if now >= grace then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'leases', '-inf', now, 'LIMIT', 0, BATCH)) do
    local job = redis.call('HMGET', 'job:' .. id, 'generation', 'aside')
    local at_work = job[1] ~= job[2]
    if at_work then redis.call('HSET', 'job:' .. id, 'suspect', 1) end
    -- Redis was away, and may have lost that this attempt had ended the job: its images may be known.
    if job[1] and now < grace + settings.lease then redis.call('HSET', 'job:' .. id, 'spare', 1) end
    requeue(id, at_work, 0, failure)
    ended = ended + 1
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'delayed', '-inf', now, 'LIMIT', 0, BATCH)) do
  redis.call('ZREM', 'delayed', id)
  enqueue(id)
  due = due + 1
end

for _, pool in ipairs(redis.call('SMEMBERS', 'pools')) do
  if settings.start_within > 0 then off = off + call_off_late(pool) end
  local published = 'published:' .. pool
  -- Fewer messages than published jobs: some were lost. Which, nobody knows; the oldest are sent again.
  local missing = redis.call('ZCARD', published) - redis.call('LLEN', 'gpu.' .. pool)
  if missing > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', published, '-inf', now, 'LIMIT', 0, missing)) do
      publish(pool, id)
      again = again + 1
    end
  end
  for _, tenant in ipairs(redis.call('SMEMBERS', 'parked:' .. pool)) do
    -- A job that it waits for may have lost its record, and then tells nobody that it ended.
    redis.call('SREM', 'parked:' .. pool, tenant)
    join(pool, tenant)
  end
  pump(pool)
end
return {ended, due, again, off}
