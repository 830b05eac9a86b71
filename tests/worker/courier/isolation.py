# ruff: noqa: T201 (a program that prints)
"""Two hundred webhooks for a receiver that hangs, sixty for a good one, all due at once.

    python -m tests.worker.courier.isolation

Says how long the good ones took. Exits with 1 when their p95 is over a second.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from shared.config import Settings
from tests.ledger import Ledger
from tests.servers import valkey
from tests.worker.courier.running import LEASE, courier, finish_all, listeners, receiving, until

HANGING, GOOD = 200, 60
BOUND = 1.0
"""Seconds, at the 95th percentile."""


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    seconds: list[float]
    """From due to received, of the good ones, the quickest first."""
    ended: int
    """Deliveries to the hanging receiver that had ended by then."""
    most: int
    """Of them under way at a time."""


def due_at_once(ledger: Ledger, jobs) -> None:
    """Now all of their webhooks are due."""
    ids = dict.fromkeys((str(job.id) for job in jobs), 1)
    ledger.redis.zadd("outbox", ids, xx=True)
    ledger.redis.publish("finished", jobs[0].id)


def later(ledger: Ledger, jobs) -> None:
    """None of them is due for long."""
    ledger.redis.zadd("outbox", dict.fromkeys((str(job.id) for job in jobs), 1e15), xx=True)


def beside_a_hanging_one(ledger: Ledger, redis_url: str, directory: Path) -> Outcome:
    """Deliver all, until the good receiver has its own."""
    with receiving() as good, receiving() as hanging:
        hanging.open.clear()
        stuck = finish_all(ledger, [hanging.url] * HANGING)
        jobs = stuck + finish_all(ledger, [good.url] * GOOD)
        later(ledger, jobs)
        with courier(redis_url, directory, webhook_timeout=60, drain=0):
            until(lambda: listeners(ledger.redis) == 1)
            started = time.monotonic()
            due_at_once(ledger, jobs)
            until(lambda: len(good.arrivals) == GOOD)
            ended = sum(ledger.redis.llen(f"attempts:{job.id}") for job in stuck)
    return Outcome(sorted(at - started for at in good.arrivals), ended, hanging.most)


def main() -> int:
    """Measure, print and judge."""
    with tempfile.TemporaryDirectory() as folder, valkey(Path(folder)) as server:
        redis = Redis.from_url(server.url, decode_responses=True)
        outcome = beside_a_hanging_one(
            Ledger(redis, Settings(lease=LEASE)), server.url, Path(folder)
        )
    p50, p95 = (outcome.seconds[int(share * GOOD) - 1] for share in (0.5, 0.95))
    print(f"{GOOD} good ones beside {HANGING} to a receiver that hangs, all due at once:")
    print(f"p50 {p50:.2f} s, p95 {p95:.2f} s, max {outcome.seconds[-1]:.2f} s;", end=" ")
    print(f"{outcome.most} to the hanging one under way at most")
    return 0 if p95 <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
