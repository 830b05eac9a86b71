-- End a job, if this attempt still holds it: exactly one attempt wins.
-- ARGV: settings, id, generation, owner, state, field ('result' or 'failure'), payload,
--       milliseconds to keep the record
-- Returns 1 when this attempt ended the job, 0 when it was stale.

local id, generation, owner, state, field, payload, keep =
  ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local key = 'job:' .. id

if not held(id, generation, owner) then
  -- Ended by this very attempt already, and the answer got lost?
  local job = redis.call('HMGET', key, 'state', 'generation', 'owner')
  return (job[1] == state and job[2] == generation and job[3] == owner) and 1 or 0
end

if state == 'succeeded' then
  local job = redis.call('HMGET', key, 'started', 'pool', 'work')
  local service, seconds = 'service:' .. job[2], (now - job[1]) / 1000
  for field, value in pairs({seconds = seconds, seconds_per_work = seconds / job[3]}) do
    local mean = tonumber(redis.call('HGET', service, field))
    redis.call('HSET', service, field, mean and mean * 0.9 + value * 0.1 or value)
  end
end
conclude(id, state, field, payload, keep)
return 1
