-- Note that outputs of a job that succeeded are no longer there; an expired record stays gone.
-- ARGV: settings, id, fields that say so

local key = 'job:' .. ARGV[2]
if redis.call('HGET', key, 'state') ~= 'succeeded' then return end
for i = 3, #ARGV do redis.call('HSET', key, ARGV[i], 1) end
