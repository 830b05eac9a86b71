-- Remember what a caller is told first about a job's end, to learn from how it comes out.
-- ARGV: settings, id, milliseconds expected, what they stand on ('busy:18': a kind and a size)

local key = 'job:' .. ARGV[2]
local state = redis.call('HGET', key, 'state')
if (state == 'queued' or state == 'running') and redis.call('HSETNX', key, 'expected', ARGV[3]) == 1 then
  redis.call('HSET', key, 'expected_at', now, 'expected_of', ARGV[4])
end
