-- Put webhooks back that were taken and not tried.
-- ARGV: settings, then for each: id, turn, milliseconds until it is due again

for index = 2, #ARGV, 3 do
  local id, turn, delay = ARGV[index], ARGV[index + 1], ARGV[index + 2]
  if redis.call('HGET', 'job:' .. id, 'turn') == turn then
    redis.call('ZADD', 'outbox', 'XX', now + delay, id)
  end
end
