-- Deliver a webhook once more, under the same message id, with all attempts before it.
-- ARGV: settings, id, tenant
-- Returns 1, or 0 when the tenant has no such job, or its webhook is not over yet.

local id, key = ARGV[2], 'job:' .. ARGV[2]
local job = redis.call('HMGET', key, 'tenant', 'webhook_status')
if job[1] ~= ARGV[3] or not job[2] then return 0 end
redis.call('HSET', key, 'replayed', now, 'earlier_attempts', redis.call('LLEN', 'attempts:' .. id))
redis.call('HDEL', key, 'webhook_status')
redis.call('ZADD', 'outbox', now, id)
redis.call('PUBLISH', 'finished', id) -- couriers look at once
return 1
