-- Take a token out of a key's bucket, which fills at an even pace.
-- ARGV: settings, name of the bucket, tokens a second, most tokens
-- Returns the milliseconds until there is one; 0 when it was taken

local bucket, rate, most = 'tokens:' .. ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local last = redis.call('HMGET', bucket, 'tokens', 'at')
local tokens = math.min(most, (last[1] or most) + (now - (last[2] or now)) / 1000 * rate)
if tokens < 1 then return math.ceil((1 - tokens) / rate * 1000) end
redis.call('HSET', bucket, 'tokens', tokens - 1, 'at', now)
redis.call('PEXPIRE', bucket, math.ceil(most / rate * 1000))
return 0
