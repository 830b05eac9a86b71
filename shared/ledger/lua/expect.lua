-- Remember what callers are told first about their jobs' ends, to learn from how they come out.
-- ARGV: settings, then for each job its id, milliseconds expected, what they stand on ('busy:18': a kind and a size)

for at = 2, #ARGV, 3 do
  local key = 'job:' .. ARGV[at]
  local state = redis.call('HGET', key, 'state')
  if (state == 'queued' or state == 'running') and redis.call('HSETNX', key, 'expected', ARGV[at + 1]) == 1 then
    redis.call('HSET', key, 'expected_at', now, 'expected_of', ARGV[at + 2])
  end
end
