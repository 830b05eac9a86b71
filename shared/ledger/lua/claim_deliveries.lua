-- Take webhooks that are due. They come back by themselves if the courier dies with them.
-- ARGV: settings, most to take, milliseconds until they come back
-- Returns for each: {id, milliseconds since it was wanted, record as JSON; empty where none is left}

local claimed = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'outbox', '-inf', now, 'LIMIT', 0, ARGV[2])) do
  local fields, record = redis.call('HGETALL', 'job:' .. id), {}
  for index = 1, #fields, 2 do record[fields[index]] = fields[index + 1] end
  if #fields == 0 then
    redis.call('ZREM', 'outbox', id) -- it outlived its job's record
    claimed[#claimed + 1] = {id, 0, ''}
  else
    redis.call('ZADD', 'outbox', now + ARGV[3], id)
    record.turn = redis.call('HINCRBY', 'job:' .. id, 'turn', 1) -- what an earlier taker says is stale
    local wanted = record.replayed or record.finished or now
    -- One string: a client takes far longer over twenty of them.
    claimed[#claimed + 1] = {id, now - wanted, cjson.encode(record)}
  end
end
return claimed
