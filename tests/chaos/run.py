"""One run: the whole service under a nemesis, made well again, and judged by its history."""

import random
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from redis import Redis

from infra.local import Stack
from shared.webhooks import new_secret
from tests.chaos.aftermath import aftermath, bring_forward, left, watch
from tests.chaos.checker import violations
from tests.chaos.customers import Client, clients, keys_file
from tests.chaos.faults import COURIERS, WORKERS, World
from tests.chaos.final import Final, orphans
from tests.chaos.history import Accepted, History, Hook
from tests.chaos.nemesis import Nemesis
from tests.chaos.process import Orders
from tests.chaos.sites import Manners, Tenant, sites
from tests.proxy import Link, links
from tests.servers import valkey

QUIET_SECONDS, LONGEST_QUIET = 120.0, 900.0
"""Without the end of a job, and in all, once nothing is wrong any more."""
SHOWN = 5
"""Violations of one invariant in a report."""
TENANTS = ("ant", "bee", "cat")
CLIENTS = 2
"""Of each tenant."""
LINKS = {
    "simulated": ("IMG2IMG_REDIS_URL", "IMG2IMG_S3_ENDPOINT"),
    "courier": ("IMG2IMG_REDIS_URL",),
    "api": ("IMG2IMG_REDIS_URL", "IMG2IMG_S3_ENDPOINT"),
}
LEASE = 3
"""Seconds."""
SETTINGS = {
    "IMG2IMG_STEP_TIME": "0.03",
    "IMG2IMG_FULL_AT": "8",
    "IMG2IMG_LEASE": str(LEASE),
    "IMG2IMG_RETRY_DELAY": "1",
    "IMG2IMG_DRAIN": "1",
    "IMG2IMG_STALL_TIMEOUT": "7",
    "IMG2IMG_WEBHOOK_TIMEOUT": "2",
    "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
}


@dataclass(frozen=True)
class Report:
    """What a run came to."""

    seed: int
    faults: list[str]
    violations: list[str]
    counts: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        verdict = [
            f"VIOLATION {one}"
            for _, same in groupby(self.violations, key=lambda one: one.partition(":")[0])
            for one in _shortened(list(same))
        ]
        counts = ", ".join(f"{number} {what}" for what, number in self.counts.items())
        return "\n".join(
            (f"seed {self.seed}", *self.faults, counts, *(verdict or ["all invariants hold"]))
        )


def _shortened(violations: list[str]) -> list[str]:
    rest = len(violations) - SHOWN
    return violations[:SHOWN] + ([f"... and {rest} more of them"] if rest > 0 else [])


def run(folder: Path, *, seed: int, seconds: float, broken: str = "") -> Report:
    """Chaos for so long, then quiet, then judgement."""
    rng = random.Random(seed)
    history, manners = History(), Manners(random.Random(rng.random()))
    tenants = [
        Tenant(name, f"sk_{name}_" + secrets.token_hex(16), new_secret()) for name in TENANTS
    ]
    (folder / "keys.json").write_text(keys_file(tenants))
    with (
        sites(tenants, history, manners) as (tenants, image_host),
        _world(folder, manners, broken) as world,
    ):
        chaos, over = threading.Event(), threading.Event()
        crowd: list[Client] = []

        def make(name: str, tenant: Tenant) -> Client:
            return Client(
                name,
                tenant,
                f"http://127.0.0.1:{world.links['clients > api'].port}",
                history,
                random.Random(rng.random()),
                f"{image_host}/picture.png",
                lambda: [(one.tenant.name, job) for one in crowd for job in list(one.jobs)],
                chaos,
                over,
            )

        crowd += clients(tenants, CLIENTS, make)
        nemesis = Nemesis(world, random.Random(rng.random()), chaos)
        chaos.set()
        _live(world, crowd, nemesis, history, seconds)
        deaths = sum(child.starts for child in world.stack.processes.values())
        final = aftermath(world, nemesis.count + deaths)
        return Report(seed, nemesis.log, violations(history, final), _counts(history, final))


def _live(
    world: World, crowd: list[Client], nemesis: Nemesis, history: History, seconds: float
) -> None:
    """All do what they do, until nothing waits any more; then everyone looks at all once more."""
    chaos, over = crowd[0].chaos, crowd[0].over
    with ThreadPoolExecutor(len(crowd) + 2) as threads:
        try:
            watching = threads.submit(watch, world.redis.url, history, over)
            haunting = threads.submit(nemesis.haunt)
            living = [threads.submit(client.live) for client in crowd]
            time.sleep(seconds)
            chaos.clear()
            haunting.result()
            _make_well(world)
            _await_quiet(world, living)
        finally:
            chaos.clear()
            over.set()
        for one in (*living, watching):
            one.result()
        list(threads.map(Client.look_at_all, crowd))


@contextmanager
def _world(folder: Path, manners: Manners, broken: str) -> Iterator[World]:
    names = [
        f"{kind} > {'redis' if 'REDIS' in variable else 's3'}"
        for kind, variables in LINKS.items()
        for variable in variables
    ]
    (folder / "redis").mkdir()
    with (
        # Under `everysec` a killed Redis that waits for its disk may lose what it acknowledged.
        valkey(folder / "redis", settings={"--appendfsync": "always"}) as redis,
        links("clients > api", *names) as made,
    ):
        orders = Orders(str(folder), _addresses(made), broken)
        stack = Stack(
            folder / "stack",
            port=0,
            env=SETTINGS
            | {"IMG2IMG_REDIS_URL": redis.url, "IMG2IMG_API_KEYS": str(folder / "keys.json")}
            | orders.environment(),
            processes=("s3", *WORKERS, *COURIERS, "api"),
        )
        for link in made.values():
            kind = link.name.rpartition(" ")[2]
            s3 = int(stack.settings_env["IMG2IMG_S3_ENDPOINT"].rpartition(":")[2])
            api = int(stack.url.rpartition(":")[2])
            link.upstream = {"redis": redis.port, "s3": s3, "api": api}[kind]
        with stack:
            yield World(stack, redis, made, manners, str(folder), LEASE)


def _addresses(made: Mapping[str, Link]) -> dict[str, dict[str, str]]:
    return {
        kind: {
            variable: f"redis://127.0.0.1:{made[f'{kind} > redis'].port}/0"
            if "REDIS" in variable
            else f"http://127.0.0.1:{made[f'{kind} > s3'].port}"
            for variable in variables
        }
        for kind, variables in LINKS.items()
    }


def _make_well(world: World) -> None:
    """No fault is left, and couriers have forgotten which receivers they leave alone."""
    world.heal()
    for name in COURIERS:
        world.stack.kill(name)
    world.stack.await_ready(*world.stack.processes)


def _await_quiet(world: World, living: list[Future[None]]) -> None:
    """Until nothing waits or runs, or nothing has ended for too long; no webhook waits for hours.

    A job that hangs takes its worker along three times, and whoever comes behind it waits.
    """
    begun = ended = brought_forward = time.monotonic()
    fewest = sys.maxsize
    with Redis.from_url(world.redis.url, decode_responses=True) as redis:
        bring_forward(redis)
        while time.monotonic() < min(ended + QUIET_SECONDS, begun + LONGEST_QUIET):
            world.forgive()
            open_ends = left(redis)
            if all(one.done() for one in living) and not any(open_ends.values()):
                return
            unfinished = sum(size for key, size in open_ends.items() if key.startswith("live:"))
            if unfinished < fewest:
                fewest, ended = unfinished, time.monotonic()
            if time.monotonic() > brought_forward + 5:
                bring_forward(redis)
                brought_forward = time.monotonic()
            time.sleep(0.2)


def _counts(history: History, final: Final) -> dict[str, int]:
    states = Counter(job.record.state for job in final.jobs.values())
    return {
        "events": len(history.events),
        "accepted": sum(1 for _ in history.of(Accepted)),
        **{str(state): count for state, count in sorted(states.items())},
        "attempts": sum(job.record.generation for job in final.jobs.values()),
        "webhooks": sum(1 for _ in history.of(Hook)),
        "orphans": orphans(final),
        "faults": final.faults,
    }
