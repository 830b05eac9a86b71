-- Stands before every script: the moves between states. Time is Redis's own, in milliseconds.
-- ARGV[1] holds the settings: {template, ahead, lease, keep, max_attempts, start_within}.

local settings = cjson.decode(ARGV[1])
local PRIORITY_STEP = 1e14 -- above any number that jobs will reach
local LOOK_AGAIN = 5000 -- a message popped but not claimed for so long is lost

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- `backlog` is the work of all that wait; that of a record which an operator deleted goes at the end.
local function start_waiting(pool, id, created, work)
  if redis.call('ZADD', 'waiting:' .. pool, created, id) == 1 then
    redis.call('INCRBYFLOAT', 'backlog:' .. pool, work)
  end
end

local function stop_waiting(pool, id)
  if redis.call('ZREM', 'waiting:' .. pool, id) == 0 then return end
  if redis.call('EXISTS', 'waiting:' .. pool) == 0 then
    redis.call('DEL', 'backlog:' .. pool)
  else
    redis.call('INCRBYFLOAT', 'backlog:' .. pool, -(redis.call('HGET', 'job:' .. id, 'work') or 0))
  end
end

local function publish(pool, id)
  local tag = id .. '.' .. time[1] .. '.' .. time[2]
  local generation = redis.call('HGET', 'job:' .. id, 'generation')
  if not generation then -- an operator deleted the record
    redis.call('ZREM', 'published:' .. pool, id)
    stop_waiting(pool, id)
    return
  end
  local message = settings.template:gsub('__POOL__', pool):gsub('__ID__', id)
    :gsub('__GENERATION__', generation):gsub('__TAG__', tag)
  redis.call('LPUSH', 'gpu.' .. pool, message)
  redis.call('ZADD', 'published:' .. pool, now + LOOK_AGAIN, id)
end

-- A tenant with a lane takes its turns, from now on but none of those that it missed.
local function join(pool, tenant)
  local ring, lane = 'ring:' .. pool, 'lane:' .. pool .. ':' .. tenant
  if redis.call('ZSCORE', ring, tenant) or redis.call('EXISTS', lane) == 0 then return end
  local clock = tonumber(redis.call('GET', 'clock:' .. pool) or 0)
  local served = tonumber(redis.call('HGET', 'passes:' .. pool, tenant) or 0)
  redis.call('ZADD', ring, math.max(clock, served), tenant)
end

-- Whether a tenant has as many jobs on a device, or on the way to one, as it may have. They are
-- counted one by one, so that no place is lost with a record that an operator deleted.
local function is_busy(tenant, most_running)
  local busy = 'busy:' .. tenant
  if redis.call('SCARD', busy) < most_running then return false end
  for _, id in ipairs(redis.call('SMEMBERS', busy)) do
    if redis.call('EXISTS', 'job:' .. id) == 0 then redis.call('SREM', busy, id) end
  end
  return redis.call('SCARD', busy) >= most_running
end

local function is_paused(pool)
  return redis.call('HGET', 'pauses', pool) == 'on'
end

-- The last moment at which an operator held a pool back, 0 for never.
local function paused_until(pool)
  local pause = redis.call('HGET', 'pauses', pool)
  return pause == 'on' and now or tonumber(pause or 0)
end

-- Keep Celery's short queue full: the tenant whose turn it is gives its first job, then moves back
-- in the ring by one turn, shorter for heavier tenants (start-time fair queueing). One that is at
-- its own limit leaves the ring until a job of it ends.
local function pump(pool)
  if is_paused(pool) then return end
  local ring = 'ring:' .. pool
  while redis.call('ZCARD', 'published:' .. pool) < settings.ahead do
    local turn = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')
    local tenant, pass = turn[1], tonumber(turn[2])
    if not tenant then return end
    local lane = 'lane:' .. pool .. ':' .. tenant
    local first = redis.call('ZPOPMIN', lane)
    local id = first[1]
    local job = redis.call('HMGET', 'job:' .. id, 'weight', 'most_running')
    local weight, most_running = tonumber(job[1] or 1), tonumber(job[2])
    if most_running and is_busy(tenant, most_running) then
      redis.call('ZADD', lane, first[2], id)
      redis.call('ZREM', ring, tenant)
      redis.call('SADD', 'parked:' .. pool, tenant)
    else
      redis.call('SET', 'clock:' .. pool, pass)
      redis.call('HSET', 'passes:' .. pool, tenant, pass + 1 / weight)
      if redis.call('ZCARD', lane) == 0 then
        redis.call('ZREM', ring, tenant)
      else
        redis.call('ZADD', ring, pass + 1 / weight, tenant)
      end
      if most_running then redis.call('SADD', 'busy:' .. tenant, id) end
      publish(pool, id)
    end
  end
end

-- A job of a tenant with a limit is no longer on a device, nor on the way to one: its tenant's lanes
-- may go on, first the one whose first job goes first.
local function leave(id, tenant)
  redis.call('SREM', 'busy:' .. tenant, id)
  if redis.call('HEXISTS', 'job:' .. id, 'started') == 1 then
    redis.call('SET', 'freed:' .. tenant, now, 'PX', settings.keep)
  end
  local pools, scores = {}, {}
  for _, pool in ipairs(redis.call('SMEMBERS', 'pools')) do
    local first = redis.call('ZRANGE', 'lane:' .. pool .. ':' .. tenant, 0, 0, 'WITHSCORES')
    redis.call('SREM', 'parked:' .. pool, tenant)
    if first[1] then
      pools[#pools + 1], scores[pool] = pool, tonumber(first[2])
      join(pool, tenant)
    end
  end
  table.sort(pools, function(one, other) return scores[one] < scores[other] end)
  for _, pool in ipairs(pools) do pump(pool) end
end

-- The last moment at which a job that waits did so for its tenant's own limit or for a pause, 0 for
-- never: its waiting until then says nothing of devices.
local function held_back_until(pool, id)
  local job = redis.call('HMGET', 'job:' .. id, 'tenant', 'most_running')
  local tenant, most_running = job[1], tonumber(job[2])
  if not most_running then return paused_until(pool) end
  local is_published = redis.call('ZSCORE', 'published:' .. pool, id)
  if not is_published and redis.call('SCARD', 'busy:' .. tenant) >= most_running then return now end
  return math.max(paused_until(pool), tonumber(redis.call('GET', 'freed:' .. tenant)) or 0)
end

-- Into its tenant's lane, at the place that its priority and age give it, also when it comes back.
local function enqueue(id)
  local job = redis.call('HMGET', 'job:' .. id, 'pool', 'tenant', 'priority', 'number', 'created', 'work')
  local pool, tenant = job[1], job[2]
  if not pool then return end -- an operator deleted the record
  start_waiting(pool, id, job[5], job[6])
  redis.call('ZADD', 'lane:' .. pool .. ':' .. tenant, job[3] * PRIORITY_STEP + job[4], id)
  redis.call('SADD', 'pools', pool)
  join(pool, tenant)
end

-- The last move. The webhook goes into the outbox with it, so no result is without its webhook.
local function conclude(id, state, field, payload, keep)
  local key = 'job:' .. id
  local job = redis.call('HMGET', key, 'tenant', 'webhook', 'generation', 'most_running', 'spare')
  redis.call('HSET', key, 'state', state, field, payload, 'finished', now)
  redis.call('ZREM', 'leases', id)
  redis.call('ZREM', 'deadlines', id)
  redis.call('SREM', 'live:' .. job[1], id)
  redis.call('PEXPIRE', key, keep or settings.keep)
  if job[2] ~= '' then redis.call('ZADD', 'outbox', now, id) end
  -- An attempt that did not end the job may have stored images.
  if (state ~= 'succeeded' or job[3] ~= '1') and not job[5] then redis.call('ZADD', 'leftovers', now, id) end
  -- Without its record nobody knows what they are: where no courier sweeps they add up to nothing.
  redis.call('ZREMRANGEBYSCORE', 'leftovers', '-inf', now - settings.keep)
  redis.call('PUBLISH', 'finished', id)
  if job[4] then leave(id, job[1]) end
end

-- An attempt is over without a result. A charged one counts towards the limit; a new generation
-- makes whatever the old attempt still sends stale.
local function requeue(id, charged, delay, failure)
  local key = 'job:' .. id
  redis.call('ZREM', 'leases', id)
  if redis.call('EXISTS', key) == 0 then return 'stale' end -- an operator deleted the record
  if charged and tonumber(redis.call('HGET', key, 'attempts')) >= settings.max_attempts then
    conclude(id, 'failed', 'failure', failure)
    redis.call('XADD', 'dead', 'MAXLEN', '~', 10000, '*', 'job', id, 'reason', failure)
    return 'failed'
  end
  if not charged then redis.call('HINCRBY', key, 'attempts', -1) end
  redis.call('HINCRBY', key, 'generation', 1)
  redis.call('HSET', key, 'state', 'queued', 'owner', '', 'step', 0)
  redis.call('HDEL', key, 'loading')
  local job = redis.call('HMGET', key, 'pool', 'tenant', 'most_running')
  if delay > 0 then redis.call('ZADD', 'delayed', now + delay, id) else enqueue(id) end
  if job[3] then leave(id, job[2]) end -- before it is published again, and counts again
  pump(job[1])
  return 'queued'
end

-- Take a queued job from wherever it waits. A worker would drop its message, but until then that
-- would count as one of those that wait in Celery's queue.
local function unqueue(id)
  local job = redis.call('HMGET', 'job:' .. id, 'pool', 'tenant', 'generation')
  local pool, lane = job[1], 'lane:' .. job[1] .. ':' .. job[2]
  redis.call('ZREM', 'delayed', id)
  stop_waiting(pool, id)
  if redis.call('ZREM', lane, id) == 1 and redis.call('ZCARD', lane) == 0 then
    redis.call('ZREM', 'ring:' .. pool, job[2])
  end
  if redis.call('ZREM', 'published:' .. pool, id) == 1 then
    local task = '"' .. id .. '.' .. job[3] .. '"'
    for _, message in ipairs(redis.call('LRANGE', 'gpu.' .. pool, 0, -1)) do
      if message:find(task, 1, true) then redis.call('LREM', 'gpu.' .. pool, 0, message) end
    end
  end
end

-- End a job before its time, unless it is over. A worker that runs it is told when it renews its
-- lease, and nothing that it still sends is believed.
local function call_off(id, state, failure)
  local job = redis.call('HMGET', 'job:' .. id, 'state', 'pool')
  if job[1] == 'queued' then
    unqueue(id)
  elseif job[1] ~= 'running' then
    return false
  end
  conclude(id, state, 'failure', failure)
  pump(job[2])
  return true
end

local function held(id, generation, owner)
  local job = redis.call('HMGET', 'job:' .. id, 'state', 'generation', 'owner')
  return job[1] == 'running' and job[2] == generation and job[3] == owner
end
