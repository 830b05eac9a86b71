-- Take webhooks that are due. They come back by themselves if the courier dies with them.
-- ARGV: settings, most to take, milliseconds until they come back
-- Returns for each: {id, message id, attempts so far, milliseconds since it was wanted, record}

local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'outbox', '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local record = redis.call('HGETALL', 'job:' .. id)
  if #record == 0 then
    redis.call('ZREM', 'outbox', id) -- it outlived its job's record
  else
    redis.call('ZADD', 'outbox', now + ARGV[3], id)
    local hook = redis.call('HMGET', 'job:' .. id, 'message_id', 'finished', 'replayed', 'earlier_attempts')
    claimed[#claimed + 1] = {
      id, hook[1], redis.call('LLEN', 'attempts:' .. id) - (hook[4] or 0), now - (hook[3] or hook[2] or now), record,
    }
  end
end
return claimed
