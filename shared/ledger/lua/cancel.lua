-- End a job that its owner no longer wants, wherever it is; one that is final stays as it is.
-- ARGV: settings, id, tenant, failure to end it with
-- Returns 1 when this call ended it, 0 when it was over already, nothing when the tenant has no such job

local id, tenant, failure = ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', 'job:' .. id, 'tenant') ~= tenant then return end
return call_off(id, 'cancelled', failure) and 1 or 0
