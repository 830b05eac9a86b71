-- End a job, if this attempt still holds it: exactly one attempt wins.
-- ARGV: settings, id, generation, owner, state, field ('result' or 'failure'), payload,
--       milliseconds to keep the record, size of its pictures
-- Returns 1 when this attempt ended the job, 0 when it was stale.

local FADES = 0.98 -- what a measure keeps when the next job comes
local STEP, KEEPS, FIRST_BOUND, LEAST, MOST = 0.2, 0.97, 2.3, 2.3, 8

local id, generation, owner, state, field, payload, keep, size =
  ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local key = 'job:' .. id

-- Sums that fade, of all jobs and of those of the size, see estimates.py.
local function count(service, sample)
  local names, added, sums = {}, {}, {}
  for name, value in pairs(sample) do
    for _, field in ipairs({name, name .. ':' .. size}) do
      names[#names + 1], added[#added + 1] = field, value
    end
  end
  local old = redis.call('HMGET', service, unpack(names))
  for index, name in ipairs(names) do
    sums[#sums + 1] = name
    sums[#sums + 1] = (tonumber(old[index]) or 0) * FADES + added[index]
  end
  redis.call('HSET', service, unpack(sums))
end

-- One that exceeds the bound raises it, others lower it a little: it stays where KEEPS of them do.
-- Nobody is promised less than a second.
local function rate(bounds, kind, expected, seconds)
  local bound = tonumber(redis.call('HGET', bounds, kind)) or FIRST_BOUND
  local exceeds = seconds > math.max(1, bound * expected)
  bound = bound * math.exp(exceeds and STEP * KEEPS or STEP * (KEEPS - 1))
  redis.call('HSET', bounds, kind, math.min(math.max(bound, LEAST), MOST))
end

local function learn()
  local job = redis.call('HMGET', key, 'started', 'pool', 'work', 'expected', 'expected_at', 'expected_of', 'others')
  local started, pool, work = tonumber(job[1]), job[2], tonumber(job[3])
  local seconds = (now - started) / 1000
  local worker, began = 'worker:' .. (owner:match('^(.*):') or owner), started
  if redis.call('EXISTS', worker) == 1 then -- it goes when the worker does
    began = math.max(started, tonumber(redis.call('HGET', worker, 'ended:' .. pool)) or 0)
    redis.call('HSET', worker, 'ended:' .. pool, now)
  end
  local others = math.max(tonumber(job[7]) or 0, redis.call('ZCARD', 'leases') - 1)
  local kind = others >= math.max(1, redis.call('ZCARD', 'workers')) and 'shared' or 'calm'
  if redis.call('EXISTS', 'waiting:' .. pool) == 1 then kind = 'busy' end
  count('service:' .. pool .. ':' .. kind, {jobs = 1, work = work, seconds = seconds, work_squared = work * work,
    work_seconds = work * seconds, gaps = (now - began) / 1000})
  -- Nobody promised how long a pause would be.
  if job[4] and tonumber(job[5]) > paused_until(pool) then
    rate('bounds:' .. pool, job[6], job[4] / 1000, (now - job[5]) / 1000)
  end
end

if not held(id, generation, owner) then
  -- Ended by this very attempt already, and the answer got lost?
  local job = redis.call('HMGET', key, 'state', 'generation', 'owner')
  return (job[1] == state and job[2] == generation and job[3] == owner) and 1 or 0
end

if state == 'succeeded' then learn() end
conclude(id, state, field, payload, keep)
return 1
