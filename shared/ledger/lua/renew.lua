-- Renew leases and note progress.
-- ARGV: settings, then for each job: id, generation, owner, steps done, steps in all
-- Returns for each job: 1 held, 0 lost

local answers = {}
for i = 2, #ARGV, 5 do
  local id = ARGV[i]
  if held(id, ARGV[i + 1], ARGV[i + 2]) then
    redis.call('ZADD', 'leases', now + settings.lease, id)
    redis.call('HSET', 'job:' .. id, 'step', ARGV[i + 3], 'steps', ARGV[i + 4])
    answers[#answers + 1] = 1
  else
    answers[#answers + 1] = 0
  end
end
return answers
