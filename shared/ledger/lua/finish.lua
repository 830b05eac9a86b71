-- End a job, if this attempt still holds it: exactly one attempt wins.
-- ARGV: settings, id, generation, owner, state, field ('result' or 'failure'), payload
-- Returns 1 when this attempt ended the job, 0 when it was stale.

local id, generation, owner, state, field, payload =
  ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local key = 'job:' .. id

if not held(id, generation, owner) then
  -- Ended by this very attempt already, and the answer got lost?
  local job = redis.call('HMGET', key, 'state', 'generation', 'owner')
  return (job[1] == state and job[2] == generation and job[3] == owner) and 1 or 0
end

if state == 'succeeded' then
  local job = redis.call('HMGET', key, 'started', 'pool')
  local service = 'service:' .. job[2]
  local seconds, mean = (now - job[1]) / 1000, tonumber(redis.call('HGET', service, 'seconds'))
  redis.call('HSET', service, 'seconds', mean and mean * 0.9 + seconds * 0.1 or seconds)
end
conclude(id, state, field, payload)
return 1
