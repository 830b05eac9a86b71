-- End those of these jobs that wait; running ones go on.
-- ARGV: settings, failure to end them with, tenant whose jobs alone are meant ('' for any), ids
-- Returns how many this call ended

local failure, tenant, ended = ARGV[2], ARGV[3], 0
for index = 4, #ARGV do
  local id = ARGV[index]
  local job = redis.call('HMGET', 'job:' .. id, 'state', 'tenant')
  if job[1] == 'queued' and (tenant == '' or job[2] == tenant) and call_off(id, 'cancelled', failure) then
    ended = ended + 1
  end
end
return ended
