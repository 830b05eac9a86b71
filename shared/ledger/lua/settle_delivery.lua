-- Note an attempt to deliver a webhook, and what follows from it.
-- ARGV: settings, id, log entry, outcome ('delivered', 'retry' or 'given_up'), milliseconds until the retry

local id, entry, outcome, delay = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local log = 'attempts:' .. id
redis.call('RPUSH', log, entry)
redis.call('PEXPIRE', log, settings.keep)
if outcome == 'retry' then
  redis.call('ZADD', 'outbox', 'XX', now + delay, id)
  return
end
-- A courier that was too slow, so that another one took the webhook, gives up nothing.
local open = redis.call('ZREM', 'outbox', id) == 1
if outcome == 'given_up' then
  if not open then return end
  redis.call('XADD', 'dead', 'MAXLEN', '~', 10000, '*', 'webhook', id, 'reason', entry)
end
if redis.call('EXISTS', 'job:' .. id) == 1 then -- it may have expired meanwhile
  redis.call('HSET', 'job:' .. id, 'webhook_status', outcome)
end
