"""`make chaos SECONDS=90 SEED=7`: one run; prints the seed, the faults and the verdict."""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.broken import BUILDS
from tests.chaos.run import run


def main() -> int:
    """0 when all invariants hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=90, help="of chaos; default 90")
    parser.add_argument("--seed", type=int, help="repeats a run's choices; default a new one")
    parser.add_argument("--break", dest="broken", choices=sorted(BUILDS), default="")
    parser.add_argument("--keep", type=Path, help="a new folder for data and logs, which stay")
    asked = parser.parse_args()
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}: {asked.seconds:g} s of chaos", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        if asked.keep:
            asked.keep.mkdir(parents=True)
        place = asked.keep or Path(folder)
        report = run(place, seed=seed, seconds=asked.seconds, broken=asked.broken)
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
