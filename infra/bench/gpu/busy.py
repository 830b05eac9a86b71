"""Which share of a run the device works, by the profiler's record of every kernel and copy."""

from collections.abc import Callable, Iterable
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from infra.bench.gpu.plan import Plan

COPIES = ("Memcpy", "Memset")


def busy(plan: Plan, run: Callable[[], Any]) -> dict[str, float] | None:
    """Shares of the time from the first kernel to the last; None where nothing can be recorded."""
    if not plan.is_cuda:
        run()
        return None
    try:
        with profile(activities=[ProfilerActivity.CUDA]) as recorded:
            run()
    except RuntimeError:  # some machines keep the profiler from the card
        return None
    spans = [
        (event.start_ns(), event.start_ns() + event.duration_ns(), event.name())
        for event in recorded.profiler.kineto_results.events()
        if event.device_type() == DeviceType.CUDA
    ]
    return shares(spans) if spans else None


def shares(spans: Iterable[tuple[int, int, str]]) -> dict[str, float]:
    """Of (start, end, name): how much of the whole was busy, and with copies."""
    ordered = sorted(spans)
    begun, reached = ordered[0][0], ordered[0][0]
    worked = longest = 0
    for start, end, _ in ordered:
        longest = max(longest, start - reached)
        worked += max(0, end - max(start, reached))
        reached = max(reached, end)
    whole = reached - begun
    copying = sum(end - start for start, end, name in ordered if name.startswith(COPIES))
    return {
        "busy": worked / whole,
        "copying": copying / whole,
        "longest_gap_seconds": longest / 1e9,
        "seconds": whole / 1e9,
    }
