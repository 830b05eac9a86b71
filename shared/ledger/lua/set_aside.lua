-- Note that a running job only waits for its turn, or does so no longer: while it waits it is not
-- charged with the end of its worker.
-- ARGV: settings, id, generation, owner, '1' or '0'
-- Returns 1, or 0 when this attempt no longer holds the job

local id, generation = ARGV[2], ARGV[3]
if not held(id, generation, ARGV[4]) then return 0 end
redis.call('HSET', 'job:' .. id, 'aside', ARGV[5] == '1' and generation or '')
return 1
