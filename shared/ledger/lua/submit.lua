-- Record jobs, put each into its tenant's lane and publish what is due: accepted and on its way, or not at all.
-- ARGV: settings, then for each job its terms, as a JSON list of texts, and the job.
-- Terms: id, tenant, pool, priority, weight, webhook, message id,
--        idempotency key, request digest, work, most live jobs of the tenant, most waiting jobs of the pool,
--        milliseconds until it is cancelled ('' for never), digest of its track_id ('' for none),
--        most running jobs of the tenant, most milliseconds that a job of the pool may have waited ('' for any)
-- Returns JSON: {receipts: of each job {outcome, id, jobs waiting, milliseconds now, standing if it was accepted}
-- or an error that concerns it alone, loads: by pool}; a standing or a load that cannot be read is absent

local LISTED = 1000 -- jobs that an index keeps
local LOOKED_AT = 50 -- of those that have waited for too long

-- Running jobs need memory to end, so new ones are refused while a tenth of it is left.
local function has_room()
  local room = redis.call('GET', 'room')
  if not room then
    local info = redis.call('INFO', 'memory')
    local used, most = tonumber(info:match('used_memory:(%d+)')), tonumber(info:match('maxmemory:(%d+)'))
    room = (most == 0 or used < most * 0.9) and 'yes' or 'no'
    redis.call('SET', 'room', room, 'PX', 1000)
  end
  return room == 'yes'
end

-- Whether devices have fallen behind: what its own tenant's limit has held back says nothing of them.
-- There may be many of those, so those that go next are looked at too.
local function is_behind(pool, shed_after)
  local late = now - shed_after
  local oldest = redis.call('ZRANGEBYSCORE', 'waiting:' .. pool, '-inf', '(' .. late, 'LIMIT', 0, LOOKED_AT)
  if not oldest[1] then return false end
  for _, ids in ipairs({oldest, redis.call('ZRANGE', 'published:' .. pool, 0, -1)}) do
    for _, id in ipairs(ids) do
      local since = tonumber(redis.call('ZSCORE', 'waiting:' .. pool, id)) or now
      if math.max(since, held_back_until(pool, id)) < late then return true end
    end
  end
  return false
end

-- What is only said beside the outcome: an error would hide that jobs were recorded.
local function if_known(find, ...)
  local is_known, found = pcall(find, ...)
  return is_known and found or nil
end

local function submit(terms, job)
  local id, tenant, pool, priority, weight, webhook, message_id, idempotency_key, digest, work = unpack(terms, 1, 10)
  local most_live, most_waiting, cancel_after = tonumber(terms[11]), tonumber(terms[12]), tonumber(terms[13])
  local track, most_running, shed_after = terms[14], terms[15], tonumber(terms[16])
  local key, waiting = 'job:' .. id, redis.call('ZCARD', 'waiting:' .. pool)

  -- The answer to an earlier try got lost and the client library sent the script again.
  if redis.call('HGET', key, 'job') == job then
    return {'accepted', id, waiting, now, if_known(standing_of, pool, tenant, id)}
  end
  if redis.call('EXISTS', key) == 1 then return {'collision', id, waiting, now} end

  local remember = idempotency_key ~= '' and 'idem:' .. tenant .. ':' .. idempotency_key
  if remember then
    local earlier = redis.call('HMGET', remember, 'id', 'digest')
    if earlier[1] then
      return {earlier[2] == digest and 'repeated' or 'conflict', earlier[1], waiting, now}
    end
  end
  if redis.call('SCARD', 'live:' .. tenant) >= most_live then return {'tenant_full', id, waiting, now} end
  if waiting >= most_waiting or not has_room() then return {'full', id, waiting, now} end
  if shed_after and is_behind(pool, shed_after) then return {'behind', id, waiting, now} end

  redis.call('HSET', key, 'job', job, 'tenant', tenant, 'pool', pool, 'priority', priority, 'weight', weight,
    'webhook', webhook, 'message_id', message_id, 'state', 'queued', 'generation', 1, 'attempts', 0,
    'created', now, 'work', work, 'number', redis.call('INCR', 'numbers'))
  if most_running ~= '' then redis.call('HSET', key, 'most_running', most_running) end
  redis.call('SADD', 'live:' .. tenant, id)
  if cancel_after then redis.call('ZADD', 'deadlines', now + cancel_after, id) end
  for _, index in ipairs({'jobs:' .. tenant, track ~= '' and 'jobs:' .. tenant .. ':' .. track or nil}) do
    redis.call('ZADD', index, now, id)
    redis.call('ZREMRANGEBYRANK', index, 0, -LISTED - 1)
    redis.call('PEXPIRE', index, settings.keep)
  end
  if remember then
    redis.call('HSET', remember, 'id', id, 'digest', digest)
    redis.call('EXPIRE', remember, 86400)
  end
  enqueue(id)
  pump(pool)
  local standing = if_known(standing_of, pool, tenant, id)
  if standing then standing.ahead = waiting end -- its rank says less: others may have come within the same millisecond
  return {'accepted', id, waiting, now, standing}
end

local receipts, loads = {}, {}
for at = 2, #ARGV, 2 do
  local terms = cjson.decode(ARGV[at])
  local is_well, receipt = pcall(submit, terms, ARGV[at + 1])
  receipts[at / 2] = is_well and receipt or {error = type(receipt) == 'table' and receipt.err or receipt}
  loads[terms[3]] = true
end
for pool in pairs(loads) do loads[pool] = if_known(load_of, pool) end
return cjson.encode({receipts = receipts, loads = loads})
