"""CPU seconds of processes and of those that they started, as Linux counts them."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PARENT, USER, SYSTEM = 1, 11, 12
"""Their places in /proc/PID/stat, behind the name."""


def cpu_seconds(named: Mapping[int, str]) -> dict[str, float]:
    """By name, of all that live; whoever descends from a named process counts as it."""
    parents, seconds = {}, {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            _, _, fields = stat.read_text().rpartition(")")
        except OSError:  # it ended
            continue
        values, pid = fields.split(), int(stat.parent.name)
        parents[pid] = int(values[PARENT])
        seconds[pid] = (int(values[USER]) + int(values[SYSTEM])) / TICKS
    used: defaultdict[str, float] = defaultdict(float)
    for pid, spent in seconds.items():
        while pid and pid not in named:
            pid = parents.get(pid, 0)  # noqa: PLW2901 (up the tree)
        if pid:
            used[named[pid]] += spent
    return dict(used)
