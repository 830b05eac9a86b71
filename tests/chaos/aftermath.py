"""What the ledger, the bucket and the devices have to say, read past everything that is broken."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from redis import Redis
from redis.exceptions import RedisError

from shared.config import Settings
from shared.ledger.records import read
from shared.object_store import OUTPUTS, ObjectStore
from tests.chaos.faults import World
from tests.chaos.final import Ended, Final
from tests.chaos.history import History, Stray
from tests.chaos.process import executions_file

WAITING = ("leases", "delayed", "outbox", "deadlines")
WAITING_LIKE = (
    *("waiting:*", "published:*", "lane:*", "ring:*", "gpu.*"),
    *("live:*", "busy:*", "parked:*"),
)
UNFINISHED = "/.tmp."
"""In the names that the S3 server here lists of uploads in which it was killed."""
LOOK_SECONDS = 0.5
STRAYS = """
local strays = {}
for _, live in ipairs(redis.call('KEYS', 'live:*')) do
  for _, id in ipairs(redis.call('SMEMBERS', live)) do
    local job = redis.call('HMGET', 'job:' .. id, 'state', 'pool', 'tenant')
    local waits = redis.call('ZSCORE', 'published:' .. job[2], id)
      or redis.call('ZSCORE', 'lane:' .. job[2] .. ':' .. job[3], id)
    local place = job[1] == 'running' and 'leases' or 'delayed'
    if not waits and not redis.call('ZSCORE', place, id) then strays[#strays + 1] = id end
  end
end
return strays
"""
"""Jobs that are not over, and that nothing in the ledger would ever bring to an end."""


def watch(url: str, history: History, end: threading.Event) -> None:
    """Look for strays, until the end."""
    with Redis.from_url(url, decode_responses=True, socket_timeout=2) as redis:
        while not end.wait(LOOK_SECONDS):
            with suppress(RedisError):
                for job_id in redis.eval(STRAYS, 0):
                    history.add(Stray(int(job_id)))


def bring_forward(redis: Redis) -> None:
    """Every webhook is due now; one that a courier has in hand may arrive twice."""
    if waiting := redis.zrange("outbox", 0, -1):
        redis.zadd("outbox", dict.fromkeys(waiting, 0), xx=True)


def left(redis: Redis) -> dict[str, int]:
    """How much is in each key in which something waits or runs."""
    size = {"zset": redis.zcard, "set": redis.scard, "list": redis.llen}
    keys = [key for pattern in WAITING_LIKE for key in redis.scan_iter(pattern, count=1000)]
    return {
        key: size[kind](key) for key in (*WAITING, *keys) if (kind := redis.type(key)) != "none"
    }


def aftermath(world: World, faults: int) -> Final:
    """All that is known of all jobs; `faults`: how many there were that could cost an attempt."""
    with Redis.from_url(world.redis.url, decode_responses=True) as redis:
        jobs = {}
        for key in redis.scan_iter("job:*", count=1000):
            fields = redis.hgetall(key)
            record = read(fields)
            jobs[record.job.id] = Ended(record, fields["message_id"])
        sizes = left(redis)
    begun = Counter(map(int, executions_file(world.folder).read_text().split()))
    return Final(jobs, _objects(world), sizes, begun, faults)


def _objects(world: World) -> dict[str, bytes]:
    env = {
        name.removeprefix("IMG2IMG_").lower(): value
        for name, value in world.stack.settings_env.items()
        if name.startswith("IMG2IMG_S3")
    }
    settings = Settings(**env)
    store = ObjectStore.connect(settings)
    pages = store._s3.get_paginator("list_objects_v2")  # noqa: SLF001 - nothing else lists
    keys = [
        item["Key"]
        for page in pages.paginate(Bucket=settings.s3_bucket, Prefix=f"{OUTPUTS}/")
        for item in page.get("Contents", ())
        if UNFINISHED not in item["Key"]
    ]
    with ThreadPoolExecutor(8) as threads:
        return dict(zip(keys, threads.map(lambda key: store.get(key).body, keys), strict=True))
