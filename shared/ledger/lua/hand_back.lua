-- Give a running job back: another attempt, now or after a delay, or its end when attempts are used up.
-- ARGV: settings, id, generation, owner, charged ('1' or '0'), delay in milliseconds, failure to end with
-- Returns 'queued', 'failed' or 'stale'

local id, generation, owner = ARGV[2], ARGV[3], ARGV[4]
if not held(id, generation, owner) then return 'stale' end
return requeue(id, ARGV[5] == '1', tonumber(ARGV[6]), ARGV[7])
