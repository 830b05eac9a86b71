-- Make the webhook of a job that is over due once more, under the same message id.
-- ARGV: settings, id, tenant
-- Returns 1, or 0 when the job has no webhook or is not over; nothing when the tenant has no such job

local id, tenant = ARGV[2], ARGV[3]
local key = 'job:' .. id
local job = redis.call('HMGET', key, 'tenant', 'webhook', 'finished')
if job[1] ~= tenant then return end
if job[2] == '' or not job[3] then return 0 end
redis.call('ZADD', 'outbox', now, id)
redis.call('HDEL', key, 'webhook_status')
redis.call('PUBLISH', 'finished', id) -- couriers look at once
return 1
