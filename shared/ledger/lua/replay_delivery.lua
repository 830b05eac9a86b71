-- Deliver a webhook once more, under the same message id, with all attempts before it.
-- ARGV: settings, id, tenant
-- Returns 1, or 0 when the tenant has no such job, its webhook is not over yet, or was replayed just now.

local PAUSE = 10000 -- between two replays of a webhook

local id, key = ARGV[2], 'job:' .. ARGV[2]
local job = redis.call('HMGET', key, 'tenant', 'webhook_status', 'replayed')
if job[1] ~= ARGV[3] or not job[2] or now - (job[3] or 0) < PAUSE then return 0 end
redis.call('HSET', key, 'replayed', now, 'tries', 0)
redis.call('HDEL', key, 'webhook_status')
redis.call('ZADD', 'outbox', now, id)
redis.call('PUBLISH', 'finished', id) -- couriers look at once
return 1
