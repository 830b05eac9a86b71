"""The truth about every job, in Redis; only the scripts in `lua/` change it, one round trip each.

submissions   what the front door does: submit, find, cancel
receipts      what is submitted, and the ledger's answer
attempts      what a GPU worker does: claim, renew, finish, hand back
deliveries    what a courier does: claim due webhooks, settle them; what an owner does: replay
orders        what operators have workers do: drain, load a model; who lives
pauses        pools that operators hold back
standing      what an alarm goes by
places        where a job stands, and how busy its pool is
estimates     how long a job will take: no Redis, only sums
together      calls of one turn of the event loop, made as one
reaper        what nobody may forget: lost workers, due retries, lost messages

Keys (`pool` groups the workers that run the same models):

job:{id}              hash    the record
numbers               string  jobs accepted so far: older ones go first
live:{tenant}         set     the tenant's jobs that are not final
waiting:{pool}        zset    queued and not delayed, by the time it was accepted
lane:{pool}:{tenant}  zset    queued and not published, by priority, then age
ring:{pool}           zset    tenants with a lane, by the virtual time of their next turn
passes:{pool}         hash    tenant -> virtual time up to which it was served
clock:{pool}          string  virtual time of the turn served last
parked:{pool}         set     tenants with a lane and without turns: at their own limit
busy:{tenant}         set     of a tenant with such a limit: its jobs published or running
freed:{tenant}        string  of a tenant with such a limit: when a job of it last left a device
pauses                hash    pool -> 'on', or when its last pause ended
published:{pool}      zset    queued with a message on its way, by the time to look again
gpu.{pool}            list    Celery's queue
leases                zset    running, by the time the lease ends
delayed               zset    queued, waiting for another try, by due time
deadlines             zset    not final, by the time it is cancelled
outbox                zset    final with an undelivered webhook, by due time
leftovers             zset    final, perhaps with images of lost attempts, by the time it ended
attempts:{id}         list    delivery log of a job's webhook
jobs:{tenant}         zset    the tenant's newest jobs, by the time they were accepted;
                              jobs:{tenant}:{track} those of one track_id
idem:{tenant}:{key}   string  idempotency key -> job id and digest of the request
backlog:{pool}        string  the work of those in `waiting`
service:{pool}:{kind} hash    what jobs took lately, by kind of company; all, and by size
bounds:{pool}         hash    by kind and size, how many times its expectation hardly any job takes
workers               zset    worker names by the time their record ends; worker:{name} holds it
orders                stream  what workers are ordered; order:{id} holds their answers
tokens:{key id}       hash    what a key with a request rate may still ask, and when that was
swept                 string  whether the bucket was swept lately
room                  string  whether there is memory for new jobs, for a second
reap:{what}           string  how far the reaper came, and when
dead                  stream  jobs and webhooks that were given up
"""
