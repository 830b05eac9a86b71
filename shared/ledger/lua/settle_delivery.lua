-- Note an attempt to deliver a webhook, and what follows from it.
-- ARGV: settings, id, log entry, outcome ('delivered', 'retry' or 'given_up'), milliseconds until the retry

local id, entry, outcome, delay = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local log = 'attempts:' .. id
redis.call('RPUSH', log, entry)
redis.call('PEXPIRE', log, settings.keep)
if outcome == 'retry' then
  redis.call('ZADD', 'outbox', 'XX', now + delay, id)
else
  redis.call('ZREM', 'outbox', id)
  redis.call('HSET', 'job:' .. id, 'webhook_status', outcome)
end
if outcome == 'given_up' then
  redis.call('XADD', 'dead', 'MAXLEN', '~', 10000, '*', 'webhook', id, 'reason', entry)
end
