-- Publish nothing more of pools, or go on; what is published or runs already is none of it.
-- ARGV: settings, '1' or '0', pools

for index = 3, #ARGV do
  local pool = ARGV[index]
  if ARGV[2] == '1' then
    redis.call('HSET', 'pauses', pool, 'on')
  elseif is_paused(pool) then
    redis.call('HSET', 'pauses', pool, now)
    pump(pool)
  end
end
