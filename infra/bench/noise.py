"""What a machine adds to any wait: how much longer than a millisecond one takes, beside all else.

`python -m infra.bench.noise` measures until its standard input ends, and prints seconds as JSON.
"""

import json
import select
import subprocess
import sys
import time
from typing import Self

from infra.local.child import ROOT

PAUSE, TIMER = 0.02, 0.001


class Noise:
    """A process of its own that measures for the length of the block."""

    oversleep: list[float]
    """Seconds."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", __name__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT)
        assert self._process.stdout
        self._process.stdout.readline()  # it has started
        return self

    def __exit__(self, *_: object) -> None:
        said, _ = self._process.communicate()
        self.oversleep = json.loads(said)


def main() -> None:
    """Measure until nobody wants more."""
    print(flush=True)
    late = []
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        began = time.perf_counter()
        time.sleep(TIMER)
        late.append(time.perf_counter() - began - TIMER)
    print(json.dumps(late))


if __name__ == "__main__":
    main()
