-- Stands behind the prelude, before scripts that say where jobs stand: shared/ledger/places.py reads it.

local function load_of(pool)
  local services = {}
  for _, kind in ipairs({'calm', 'shared', 'busy'}) do
    local service = redis.call('HGETALL', 'service:' .. pool .. ':' .. kind)
    services[kind] = service[1] and service or nil
  end
  local bounds = redis.call('HGETALL', 'bounds:' .. pool)
  local workers, slots = 0, 0
  for _, name in ipairs(redis.call('ZRANGE', 'workers', 0, -1)) do
    local worker = redis.call('HMGET', 'worker:' .. name, 'pools', 'slots')
    if worker[1] and (',' .. worker[1] .. ','):find(',' .. pool .. ',', 1, true) then
      workers, slots = workers + 1, slots + tonumber(worker[2])
    end
  end
  return {
    waiting = redis.call('ZCARD', 'waiting:' .. pool),
    is_paused = is_paused(pool),
    backlog = redis.call('GET', 'backlog:' .. pool) or nil,
    running = redis.call('ZCARD', 'leases'),
    workers = workers,
    slots = slots,
    services = services,
    bounds = bounds[1] and bounds or nil,
  }
end

local function standing_of(pool, tenant, id)
  local waiting, published, ring = 'waiting:' .. pool, 'published:' .. pool, 'ring:' .. pool
  local lane = 'lane:' .. pool .. ':' .. tenant
  local job = redis.call('HMGET', 'job:' .. id, 'weight', 'most_running', 'created')
  local due = redis.call('ZSCORE', 'delayed', id)
  return {
    waiting = redis.call('ZCARD', waiting),
    ahead = redis.call('ZRANK', waiting, id) or nil,
    published = redis.call('ZCARD', published),
    next_up = redis.call('ZRANK', published, id) or nil,
    own = redis.call('ZCARD', lane),
    place = redis.call('ZRANK', lane, id) or nil,
    tenants = redis.call('ZCARD', ring),
    has_turns = redis.call('ZSCORE', ring, tenant) and true,
    is_parked = redis.call('SISMEMBER', 'parked:' .. pool, tenant) == 1,
    busy = redis.call('SCARD', 'busy:' .. tenant),
    weight = job[1] or nil,
    most_running = job[2] or nil,
    delay = due and math.max(0, due - now) or nil,
    older = due and redis.call('ZCOUNT', waiting, '-inf', '(' .. job[3]) or nil,
  }
end
