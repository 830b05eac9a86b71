"""Ours and the rivals, and the devices and mixes on which they are compared."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

from infra.bench.arrivals import Mix, Traffic
from infra.bench.rivals import batched_whole, everything, nothing, steps_and_strength
from infra.bench.simulator import SD15, SDXL, Profile, Run
from infra.bench.stepwise import batched_by_step

WINDOW = 0.05
"""Seconds that a dynamic batcher waits for more of a kind, where it does."""
LOADS = (0.3, 0.5, 0.7, 0.9, 1.1)
"""Shares of what full batches serve."""
FEW_LOADS = (0.7, 0.9)
CAPS = (1, 2, 4, 8)
"""What a rival may choose from."""

Policy = Callable[[Traffic, Profile, int], Run]
"""The last is the cap: how many may share a forward."""
OURS, ALONE, STATIC = "step level", "one at a time", "static batch"
EXACT, AGREEING = "exact key", "steps and strength"
EXACT_WAITING, AGREEING_WAITING = f"{EXACT}, 50 ms", f"{AGREEING}, 50 ms"
POLICIES: dict[str, Policy] = {
    OURS: batched_by_step,
    ALONE: partial(batched_whole, key=nothing),
    STATIC: partial(batched_whole, key=nothing),
    EXACT: partial(batched_whole, key=everything),
    EXACT_WAITING: partial(batched_whole, key=everything, window=WINDOW),
    AGREEING: partial(batched_whole, key=steps_and_strength),
    AGREEING_WAITING: partial(batched_whole, key=steps_and_strength, window=WINDOW),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A device, what is asked of it, and the policies that are tried."""

    profile: Profile
    mix: Mix
    policies: tuple[str, ...]
    loads: tuple[float, ...] = LOADS

    def caps(self, policy: str) -> tuple[int, ...]:
        """Ours has the knee; a rival has the best of what this answers with."""
        return {OURS: (self.profile.cap,), ALONE: (1,)}.get(policy, CAPS)

    @property
    def capacity(self) -> float:
        """Images a second in full batches of the largest size that anybody may choose."""
        return self.profile.capacity(self.mix, CAPS[-1])


MIXED = [*product((20, 25, 30, 50), (0.3, 0.5, 0.7, 0.9), (5.0, 7.5, 10.0))]
IDENTICAL = [(30, 0.7, 7.5)]
SD15_MIXED, SD15_IDENTICAL = "SD 1.5, mixed", "SD 1.5, identical"
SDXL_MIXED, SDXL_IDENTICAL = "SDXL, mixed", "SDXL, identical"
SCENARIOS = {
    SD15_MIXED: Scenario(SD15, MIXED, tuple(POLICIES)),
    SD15_IDENTICAL: Scenario(SD15, IDENTICAL, (OURS, ALONE, EXACT), FEW_LOADS),
    SDXL_MIXED: Scenario(SDXL, MIXED, (OURS, ALONE, STATIC, EXACT, AGREEING)),
    SDXL_IDENTICAL: Scenario(SDXL, IDENTICAL, (OURS, ALONE, EXACT), FEW_LOADS),
}
