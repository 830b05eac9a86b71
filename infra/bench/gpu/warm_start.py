"""Seconds from an empty process to the first image, with a cold and a warm compile cache.

`python -m infra.bench.gpu.warm_start NOW PLAN MODEL FORM` is the process; reading weights from
a disk is not in it, because there are none.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from infra.bench.gpu import models
from infra.bench.gpu.plan import EAGER, Plan
from infra.bench.gpu.traffic import PATIENCE, running, sample
from infra.bench.report import ROOT, Finding, Row

CACHE = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"
LONGEST = 540
"""Seconds: with an empty cache every bucket is compiled."""
READY = {"sd15": 60.0, "sdxl": 60.0}
"""Seconds asked for, with a warm cache."""
IMAGES = 3


def cases(plan: Plan) -> tuple[str, ...]:
    """The models in their forms; one miniature is like another."""
    return models.cases(plan)[: 1 if plan.tiny else None]


def measure(plan: Plan, case: str) -> Finding:
    """A process with an empty cache, and one after it."""
    name, form = case.split()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("cold",) if plan.tiny else ("cold", "warm"):
            results[cache] = _process(plan, name, form, folder)
    rows = []
    for cache, times in results.items():
        said = ", ".join(f"{what} {value:.1f}" for what, value in times["seconds"].items())
        ready = sum(times["seconds"].values())
        least = READY.get(name) if cache == "warm" else None
        asked = "" if least is None else f"at most {least:g} s"
        held = None if least is None else ready <= least
        rows.append(
            Row(f"{case}, {cache} cache: first image", f"{ready:.1f} s: {said}", asked, held)
        )
    again = max(times["compiled_later"] for times in results.values())
    rows.append(Row(f"{case}: compiled after warm-up", str(again), "0", again == 0))
    return Finding(results, rows)


def _process(plan: Plan, name: str, form: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "infra.bench.gpu.warm_start"]
    ended = subprocess.run(
        [*command, str(time.time()), json.dumps(asdict(plan)), name, form],
        cwd=ROOT,
        env=os.environ | dict.fromkeys(CACHE, folder),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"exit {ended.returncode}: {ended.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Start as a worker starts, make some images, print what it took."""
    started, settings, name, form = sys.argv[1:]
    plan = Plan(**json.loads(settings))
    marks = {"start": float(started), "imports": time.time()}
    pipeline = models.load_ours(name, plan, form)
    marks["load"] = time.time()
    # All that a worker compiles at its start, unlike the parts that measure one size.
    with running(pipeline, plan, models.buckets(name, EAGER)) as engine:
        marks["warm-up"] = time.time()
        before = compiled()
        for number in range(IMAGES):
            one = sample(name, plan, number, steps=4 + number)
            engine.submit([one])
            one.done.result(PATIENCE)
            marks.setdefault("first image", time.time())
        later = compiled() - before
    times = list(marks.values())
    spent = (end - start for start, end in pairwise(times))
    named = dict(zip(list(marks)[1:], spent, strict=True))
    print(json.dumps({"seconds": named, "compiled_later": later}))


def compiled() -> int:
    """Graphs that torch.compile has made in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")  # not imported: nothing was compiled
    return int(dynamo.counters["stats"]["unique_graphs"]) if dynamo else 0


if __name__ == "__main__":
    main()
