-- Take webhooks that are due. They come back by themselves if the courier dies with them.
-- ARGV: settings, most to take, milliseconds until they come back
-- Returns for each: {id, message id, attempts so far, record}

local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'outbox', '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local record = redis.call('HGETALL', 'job:' .. id)
  if #record == 0 then
    redis.call('ZREM', 'outbox', id) -- it outlived its job's record
  else
    redis.call('ZADD', 'outbox', now + ARGV[3], id)
    claimed[#claimed + 1] =
      {id, redis.call('HGET', 'job:' .. id, 'message_id'), redis.call('LLEN', 'attempts:' .. id), record}
  end
end
return claimed
