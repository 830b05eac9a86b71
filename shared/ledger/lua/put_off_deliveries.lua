-- Put webhooks back that were taken and not tried.
-- ARGV: settings, then for each: id, milliseconds until it is due again

for index = 2, #ARGV, 2 do
  redis.call('ZADD', 'outbox', 'XX', now + ARGV[index + 1], ARGV[index])
end
