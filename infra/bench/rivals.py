"""How others batch: a batch is formed once, of what agrees, and runs to its end."""

from collections import Counter, deque
from collections.abc import Callable, Hashable

from infra.bench.arrivals import Request, Traffic
from infra.bench.simulator import Profile, Run, run_of

Key = Callable[[Request], Hashable]


def everything(request: Request) -> Hashable:
    """All parameters, as one call of a pipeline takes them."""
    return request.steps, request.strength, request.guidance


def steps_and_strength(request: Request) -> Hashable:
    """Generous: a pipeline that takes the guidance as a vector."""
    return request.steps, request.strength


def nothing(_request: Request) -> Hashable:
    """Whatever waits goes together, until the longest is done."""


def batched_whole(
    traffic: Traffic, profile: Profile, cap: int, *, key: Key, window: float = 0.0
) -> Run:
    """The device takes the oldest and up to the cap that agree with it, and runs them to the end.

    A batch that is not full waits until its oldest has waited for `window` seconds.
    """
    queues: dict[Hashable, deque[Request]] = {}
    steps: Counter[tuple[int, int]] = Counter()
    now = 0.0
    while not traffic.is_over:
        for request in traffic.arrived(now):
            queues.setdefault(key(request), deque()).append(request)
        oldest = {kind: queue[0].arrival for kind, queue in queues.items()}
        ready = [k for k in oldest if oldest[k] + window <= now or len(queues[k]) >= cap]
        if not ready:
            now = _next_moment(traffic, [arrival + window for arrival in oldest.values()])
            continue
        kind = min(ready, key=oldest.__getitem__)
        batch = [queues[kind].popleft() for _ in range(min(cap, len(queues[kind])))]
        if not queues[kind]:
            del queues[kind]
        calls = max(request.calls for request in batch)
        steps[len(batch), len(batch)] += calls
        now += len(batch) * profile.encode + calls * profile.step_seconds(len(batch))
        for request in batch:
            now += profile.decode
            traffic.end(request, now)
    return run_of(traffic, profile, steps)


def _next_moment(traffic: Traffic, windows: list[float]) -> float:
    coming = traffic.next_arrival
    return min(windows if coming is None else [*windows, coming])
