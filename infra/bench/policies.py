"""Ours and the rivals, and the devices and mixes on which they are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

from infra.bench.arrivals import Mix, Traffic
from infra.bench.rivals import batched_whole, everything, nothing, steps_and_strength
from infra.bench.simulator import SD15, SDXL, Profile, Run, batched_by_step

WINDOW = 0.05
"""Seconds that a dynamic batcher waits for more of a kind, where it does."""
COARSE = (1, 2, 3, 4, 6, 8)
"""Fewer shapes to compile, and rows to fill up."""

Policy = Callable[[Traffic, Profile], Run]
OURS, ALONE, STATIC = "step level", "one at a time", "static batch"
EXACT, AGREEING = "exact key", "steps and strength"
EXACT_WAITING, AGREEING_WAITING = f"{EXACT}, 50 ms", f"{AGREEING}, 50 ms"
OURS_PADDED = f"{OURS}, padded"
EXACT_PADDED, AGREEING_PADDED = f"{EXACT}, padded", f"{AGREEING}, padded"
POLICIES: dict[str, Policy] = {
    OURS: batched_by_step,
    OURS_PADDED: partial(batched_by_step, buckets=COARSE),
    ALONE: partial(batched_whole, key=nothing, cap=1),
    STATIC: partial(batched_whole, key=nothing),
    EXACT: partial(batched_whole, key=everything),
    EXACT_WAITING: partial(batched_whole, key=everything, window=WINDOW),
    EXACT_PADDED: partial(batched_whole, key=everything, buckets=COARSE),
    AGREEING: partial(batched_whole, key=steps_and_strength),
    AGREEING_WAITING: partial(batched_whole, key=steps_and_strength, window=WINDOW),
    AGREEING_PADDED: partial(batched_whole, key=steps_and_strength, buckets=COARSE),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A device, what is asked of it, and the policies that are tried."""

    profile: Profile
    mix: Mix
    policies: tuple[str, ...]

    @property
    def capacity(self) -> float:
        """Images per second if every forward were a full batch."""
        return self.profile.capacity(self.mix)


MIXED = [*product((20, 25, 30, 50), (0.3, 0.5, 0.7, 0.9), (5.0, 7.5, 10.0))]
IDENTICAL = [(30, 0.7, 7.5)]
SD15_MIXED, SD15_IDENTICAL = "SD 1.5, mixed", "SD 1.5, identical"
SDXL_MIXED, SDXL_IDENTICAL = "SDXL, mixed", "SDXL, identical"
FEW = (OURS, ALONE, STATIC, EXACT)
SCENARIOS = {
    SD15_MIXED: Scenario(SD15, MIXED, tuple(POLICIES)),
    SD15_IDENTICAL: Scenario(SD15, IDENTICAL, FEW),
    SDXL_MIXED: Scenario(SDXL, MIXED, (*FEW, EXACT_WAITING, AGREEING, AGREEING_WAITING)),
    SDXL_IDENTICAL: Scenario(SDXL, IDENTICAL, FEW),
}
