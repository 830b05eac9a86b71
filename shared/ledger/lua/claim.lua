-- Take a queued job, if it is still the one the message meant.
-- ARGV: settings, id, generation, owner
-- Returns {job, attempts, '1' if an attempt ended with its worker} or nothing: then the message was stale, doubled or unknown.

local id, generation, owner = ARGV[2], ARGV[3], ARGV[4]
local key = 'job:' .. id
local job = redis.call('HMGET', key, 'state', 'generation', 'owner', 'pool', 'attempts')

if job[1] == 'queued' and job[2] == generation then
  redis.call('HSET', key, 'state', 'running', 'owner', owner, 'started', now, 'attempts', job[5] + 1,
    'others', redis.call('ZCARD', 'leases'))
  redis.call('ZREM', 'published:' .. job[4], id)
  stop_waiting(job[4], id)
  redis.call('ZADD', 'leases', now + settings.lease, id)
  pump(job[4])
elseif not held(id, generation, owner) then
  return {}
end
return redis.call('HMGET', key, 'job', 'attempts', 'suspect')
