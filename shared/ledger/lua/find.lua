-- A tenant's job. Another tenant's takes as long as an unknown one, and answers as it does.
-- ARGV: settings, id, tenant
-- Returns the record, fields and values in turns, or nothing

local key = 'job:' .. ARGV[2]
if redis.call('HGET', key, 'tenant') ~= ARGV[3] then return {} end
return redis.call('HGETALL', key)
