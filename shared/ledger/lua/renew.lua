-- Renew leases and note progress.
-- ARGV: settings, then for each job: id, generation, owner, steps done, steps in all, '1' while its model is loaded
-- Returns for each job: 1 held, 0 lost

local answers = {}
for i = 2, #ARGV, 6 do
  local id, key = ARGV[i], 'job:' .. ARGV[i]
  if held(id, ARGV[i + 1], ARGV[i + 2]) then
    redis.call('ZADD', 'leases', now + settings.lease, id)
    redis.call('HSET', key, 'step', ARGV[i + 3], 'steps', ARGV[i + 4])
    if ARGV[i + 5] == '1' then redis.call('HSET', key, 'loading', 1) else redis.call('HDEL', key, 'loading') end
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = 0
  end
end
return answers
