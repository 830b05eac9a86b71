# ruff: noqa: T201 (a program that prints)
"""Kills a worker in each phase of a job, many times, and says how soon the job was done after it.

    python -m tests.e2e.failures.kill_phases --times 50

Each phase has a stack of its own, side by side. Another worker is there, so the time is that of
noticing, not of a new process. Exits with 1 when a job was lost or the slowest were too slow.
"""

import argparse
import json
import math
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.failures.scene import (
    LONG,
    SLOWLY,
    WORKERS,
    Scene,
    process_of,
    scene,
    script,
    until,
)
from tests.proxy import Held

BOUND = 20.0
"""Seconds from the kill to the end of the job, at the 99th percentile."""
PATIENCE = 90.0


def claim(scene: Scene) -> tuple[int, str]:
    """The message is taken from the queue, and the ledger does not know yet."""
    return _held(scene, scene.redis_link.hold(script("claim")))


def claimed(scene: Scene) -> tuple[int, str]:
    """The ledger has given the job away, and the worker does not know yet."""
    return _held(scene, scene.redis_link.hold(script("claim"), answer=True))


def fetch(scene: Scene) -> tuple[int, str]:
    """It waits for the customer's image."""
    scene.site.asked.clear()
    scene.site.let_go.clear()
    job = scene.submit(init_image=f"{scene.site.server.url}/held.png")
    assert scene.site.asked.wait(PATIENCE)
    return job, scene.worker_of(job)


def denoise(scene: Scene) -> tuple[int, str]:
    """It is between two steps."""
    job = scene.submit(**LONG)
    until(lambda: scene.is_painted(job), PATIENCE)
    return job, scene.worker_of(job)


def upload(scene: Scene) -> tuple[int, str]:
    """The picture is on its way to the bucket."""
    held = scene.s3_link.hold(b"PUT /img2img/generations/")
    job = scene.submit()
    assert held.arrived.wait(PATIENCE)
    return job, scene.worker_of(job)


def finish(scene: Scene) -> tuple[int, str]:
    """The picture is stored, and the ledger does not know yet."""
    return _held(scene, scene.redis_link.hold(script("finish")))


PHASES: dict[str, Callable[[Scene], tuple[int, str]]] = {
    phase.__name__: phase for phase in (claim, claimed, fetch, denoise, upload, finish)
}
"""Each brings a job into its phase, and returns its id and the process that has it."""


def _held(scene: Scene, held: Held) -> tuple[int, str]:
    job = scene.submit()
    assert held.arrived.wait(PATIENCE)
    # The owner is one of the script's arguments.
    [owner] = [w.decode() for w in held.data.split(b"\r\n") if w.startswith(b"simulated")]
    return job, process_of(owner)


def kill_in(phase: str, scene: Scene) -> float:
    """Kill the worker of a job in this phase; seconds until the job has succeeded all the same."""
    scene.stack.await_ready(*WORKERS)
    job, worker = PHASES[phase](scene)
    scene.stack.kill(worker)
    killed = time.monotonic()
    scene.stack.stop_process(worker)  # or its next life might take the job
    scene.site.let_go.set()
    until(lambda: scene.state(job) == "succeeded", PATIENCE)
    seconds = time.monotonic() - killed
    scene.replace(worker)
    assert scene.settled(extra_starts=1) == {"succeeded": 1}
    return seconds


def percentile(values: list[float], share: float) -> float:
    """The smallest value that so large a share of them does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


@contextmanager
def stage(**settings: str) -> Iterator[Scene]:
    """A scene in which a job is painted long enough to be caught at it."""
    with tempfile.TemporaryDirectory() as folder, scene(Path(folder), **SLOWLY, **settings) as one:
        one.submit()
        one.settled(extra_starts=0)  # from here on Redis knows the scripts by their names
        yield one


def _kill_often(phase: str, times: int, lease: str) -> list[float]:
    seconds = []
    with stage(IMG2IMG_LEASE=lease) as here:
        for number in range(times):
            seconds.append(kill_in(phase, here))
            print(f"{phase} {number + 1}/{times}: {seconds[-1]:.1f} s", flush=True)
    return seconds


def main() -> int:
    """Kill, measure, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="kills in each phase")
    parser.add_argument("--lease", default="15", help="seconds; 15 is the default of the service")
    parser.add_argument("--phases", nargs="*", default=list(PHASES), choices=list(PHASES))
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    given = parser.parse_args()
    with ThreadPoolExecutor(len(given.phases)) as threads:
        phases = given.phases
        every = threads.map(lambda phase: _kill_often(phase, given.times, given.lease), phases)
        measured = dict(zip(phases, every, strict=True))
    measured["all"] = [seconds for every in measured.values() for seconds in every]
    print(f"\n{'phase':8} {'kills':>5} {'p50':>6} {'p99':>6} {'max':>6}  seconds to the job's end")
    for phase, every in measured.items():
        p50, p99 = percentile(every, 0.5), percentile(every, 0.99)
        print(f"{phase:8} {len(every):5} {p50:6.1f} {p99:6.1f} {max(every):6.1f}")
    if given.out:
        place = {"at": datetime.now(UTC).isoformat(), "python": platform.python_version()}
        figures = {phase: [round(s, 2) for s in every] for phase, every in measured.items()}
        given.out.write_text(json.dumps(place | {"lease": given.lease, "seconds": figures}))
    good = percentile(measured["all"], 0.99) <= BOUND
    print(f"every job succeeded; p99 {'within' if good else 'OVER'} {BOUND:g} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
