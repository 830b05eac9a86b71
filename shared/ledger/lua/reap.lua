-- Bring back what was lost: jobs of dead workers, due retries, messages nobody claimed.
-- ARGV: settings, failure to end a job with whose workers all died
-- Returns {leases ended, retries due, messages sent again}

local BATCH = 200
local failure = ARGV[2]
local ended, due, again = 0, 0, 0

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
    requeue(id, true, 0, failure)
    ended = ended + 1
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'delayed', '-inf', now, 'LIMIT', 0, BATCH)) do
  redis.call('ZREM', 'delayed', id)
  enqueue(id)
  due = due + 1
end

for _, pool in ipairs(redis.call('SMEMBERS', 'pools')) do
  local published = 'published:' .. pool
  -- Fewer messages than published jobs: some were lost. Which, nobody knows; the oldest are sent again.
  local missing = redis.call('ZCARD', published) - redis.call('LLEN', 'gpu.' .. pool)
  if missing > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', published, '-inf', now, 'LIMIT', 0, missing)) do
      publish(pool, id)
      again = again + 1
    end
  end
  pump(pool)
end
return {ended, due, again}
