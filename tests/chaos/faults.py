"""What can go wrong with the service, its servers, its links and its customers."""

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

from infra.local import Stack
from tests.chaos.process import clock_file
from tests.chaos.sites import Manners
from tests.proxy import Link, Weather
from tests.servers import Valkey

WORKERS = ("simulated", "simulated-2")
COURIERS = ("courier", "courier-2")
OFF = {"simulated": 3600.0, "courier": 120.0, "api": 600.0}
"""Seconds by which a clock may be off: a receiver refuses signatures five minutes away, so a
courier's is kept within that; the others do not matter."""
WEATHERS = {
    "late": Weather(latency=0.2),
    "slow": Weather(rate=20_000),
    "sliced": Weather(piece=7),
    "reset after 3000 bytes": Weather(reset_after=3000),
    "silent": Weather(silent=True),
    "half closed": Weather(half_closed=True),
    "refused": Weather(refused=True),
}


@dataclass(frozen=True)
class World:
    """What a nemesis has its hands on."""

    stack: Stack
    redis: Valkey
    links: Mapping[str, Link]
    manners: Manners
    folder: str
    lease: float
    """Seconds that a worker keeps a job without renewing it."""

    def ask(self, *command: object) -> None:
        """Tell Redis itself, past the proxy; one that is away is not told."""
        with suppress(RedisError), Redis.from_url(self.redis.url, socket_timeout=2) as redis:
            redis.execute_command(*command)

    def forgive(self) -> None:
        """Deaths so far delay no start: the supervisor would be slower each time."""
        for child in self.stack.processes.values():
            child.want()

    def heal(self) -> None:
        """Whatever is still wrong is not."""
        self.manners.bad = 0
        for link in self.links.values():
            link.heal()
        for name in self.stack.processes:
            self.stack.kill(name, signal.SIGCONT)
            clock_file(self.folder, name).unlink(missing_ok=True)
        self.forgive()
        self.ask("CONFIG", "SET", "maxmemory", 0)


Fault = Callable[[World, random.Random], AbstractContextManager[str]]
"""Enters a fault, says what it is, and heals it."""


def _pick_process(rng: random.Random) -> str:
    return rng.choice((*WORKERS, *WORKERS, *COURIERS, "api"))


@contextmanager
def killed(world: World, rng: random.Random) -> Iterator[str]:
    """A process dies at once."""
    name = _pick_process(rng)
    world.stack.kill(name, signal.SIGKILL)
    yield f"kill -9 {name}"


@contextmanager
def told_to_stop(world: World, rng: random.Random) -> Iterator[str]:
    """A process has to stop in order, as in a deployment."""
    name = rng.choice((*WORKERS, *COURIERS))
    world.stack.kill(name, signal.SIGTERM)
    yield f"SIGTERM {name}"


@contextmanager
def frozen(world: World, rng: random.Random) -> Iterator[str]:
    """A process stands still and knows nothing of it."""
    name = _pick_process(rng)
    world.stack.kill(name, signal.SIGSTOP)
    try:
        yield f"SIGSTOP {name}"
    finally:
        world.stack.kill(name, signal.SIGCONT)


@contextmanager
def outlived(world: World, rng: random.Random) -> Iterator[str]:
    """A worker stands still until others have its jobs, and goes on with them."""
    name, seconds = rng.choice(WORKERS), rng.uniform(1.1, 1.8) * world.lease
    world.stack.kill(name, signal.SIGSTOP)
    time.sleep(seconds)
    world.stack.kill(name, signal.SIGCONT)
    yield f"SIGSTOP {name} for {seconds:.1f} s"


@contextmanager
def frozen_and_killed(world: World, rng: random.Random) -> Iterator[str]:
    """A worker stands still with all that it holds, and then dies of it."""
    name = rng.choice(WORKERS)
    world.stack.kill(name, signal.SIGSTOP)
    try:
        yield f"SIGSTOP, then kill -9 {name}"
    finally:
        world.stack.kill(name, signal.SIGKILL)


@contextmanager
def redis_killed(world: World, rng: random.Random) -> Iterator[str]:
    """Redis dies, and comes back with its append-only file."""
    world.redis.kill()
    try:
        yield "kill -9 redis"
    finally:
        world.redis.start()


@contextmanager
def redis_paused(world: World, rng: random.Random) -> Iterator[str]:
    """Redis answers nobody."""
    seconds = rng.uniform(1, 6)
    world.ask("CLIENT", "PAUSE", round(seconds * 1000), rng.choice(("ALL", "WRITE")))
    yield f"CLIENT PAUSE {seconds:.1f} s"


@contextmanager
def connections_killed(world: World, rng: random.Random) -> Iterator[str]:
    """Redis drops everyone."""
    for kind in ("normal", "pubsub"):
        world.ask("CLIENT", "KILL", "TYPE", kind)
    yield "CLIENT KILL of all connections"


@contextmanager
def memory_full(world: World, rng: random.Random) -> Iterator[str]:
    """Redis takes no more data, or so little that only what runs may end."""
    share = rng.choice((0.5, 1.05))
    with suppress(RedisError), Redis.from_url(world.redis.url, socket_timeout=2) as redis:
        most = int(redis.info("memory")["used_memory"] * share)
        redis.config_set("maxmemory", most)
    try:
        yield f"maxmemory at {share:.0%} of what is used"
    finally:
        world.ask("CONFIG", "SET", "maxmemory", 0)


@contextmanager
def bad_weather(world: World, rng: random.Random) -> Iterator[str]:
    """A link is slow, silent, cut ..."""
    link = world.links[rng.choice(sorted(world.links))]
    name = rng.choice(sorted(WEATHERS))
    link.weather = WEATHERS[name]
    try:
        yield f"{link.name} is {name}"
    finally:
        link.heal()


@contextmanager
def cut(world: World, rng: random.Random) -> Iterator[str]:
    """Every connection of a link is reset."""
    name = rng.choice(sorted(world.links))
    world.links[name].cut()
    yield f"{name} is cut"


@contextmanager
def s3_killed(world: World, rng: random.Random) -> Iterator[str]:
    """The object store dies and comes back."""
    world.stack.kill("s3", signal.SIGKILL)
    yield "kill -9 s3"


@contextmanager
def s3_frozen(world: World, rng: random.Random) -> Iterator[str]:
    """The object store stands still."""
    world.stack.kill("s3", signal.SIGSTOP)
    try:
        yield "SIGSTOP s3"
    finally:
        world.stack.kill("s3", signal.SIGCONT)


@contextmanager
def clock_off(world: World, rng: random.Random) -> Iterator[str]:
    """A machine's clock jumps, and stays there until the next jump."""
    name = _pick_process(rng)
    kind, _, _ = name.partition("-")
    seconds = rng.uniform(-OFF[kind], OFF[kind])
    clock_file(world.folder, name).write_text(str(seconds))
    yield f"clock of {name} is off by {seconds:.0f} s"


@contextmanager
def customers_down(world: World, rng: random.Random) -> Iterator[str]:
    """Most receivers and image hosts misbehave at the same time."""
    usual, world.manners.bad = world.manners.bad, 0.8
    try:
        yield "customers' servers misbehave"
    finally:
        world.manners.bad = usual


FAULTS: dict[Fault, int] = {
    killed: 6,
    frozen: 3,
    outlived: 4,
    frozen_and_killed: 2,
    told_to_stop: 2,
    redis_killed: 2,
    redis_paused: 2,
    connections_killed: 2,
    memory_full: 2,
    bad_weather: 6,
    cut: 3,
    s3_killed: 1,
    s3_frozen: 1,
    clock_off: 3,
    customers_down: 1,
}
"""How often each comes, relative to the others."""
