-- Note an attempt to deliver a webhook, and what follows from it.
-- ARGV: settings, id, turn, log entry, outcome ('delivered', 'retry' or 'given_up'),
--       milliseconds until the retry

local LOGGED = 50 -- attempts that are remembered: those of a few replays

local id, turn, entry, outcome, delay = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local key, log = 'job:' .. id, 'attempts:' .. id
redis.call('RPUSH', log, entry)
redis.call('LTRIM', log, -LOGGED, -1)
redis.call('PEXPIRE', log, settings.keep)

-- A courier that was too slow, so that another one took the webhook, or it was replayed meanwhile,
-- decides nothing. Nor does one that says it twice.
local holder = redis.call('HGET', key, 'turn')
if not holder then redis.call('ZREM', 'outbox', id) end -- it outlived its job's record
if holder ~= turn then return end
redis.call('HINCRBY', key, 'turn', 1)
redis.call('HINCRBY', key, 'tries', 1)
if outcome == 'retry' then
  redis.call('ZADD', 'outbox', 'XX', now + delay, id)
  return
end
redis.call('ZREM', 'outbox', id)
redis.call('HSET', key, 'webhook_status', outcome)
if outcome == 'given_up' then
  redis.call('XADD', 'dead', 'MAXLEN', '~', 10000, '*', 'webhook', id, 'reason', entry)
end
