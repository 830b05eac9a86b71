"""What the engine does on the counted time, in a loop short enough for long runs."""

from collections import Counter, deque

from infra.bench.arrivals import Request, Traffic
from infra.bench.simulator import Profile, Run, run_of


def batched_by_step(traffic: Traffic, profile: Profile, cap: int) -> Run:
    """The oldest that wait take free places before each step, and leave when they are done.

    The same as `batched_by_engine` to the last bit; the clock moves by the same additions.
    """
    waiting: deque[Request] = deque()
    running: dict[Request, int] = {}  # the number of their last step
    steps: Counter[tuple[int, int]] = Counter()
    step, now = 0, 0.0
    while not traffic.is_over:
        if not running and not waiting:
            coming = traffic.next_arrival
            assert coming is not None
            now = max(now, coming)
            waiting += traffic.arrived(now)
        for request in [waiting.popleft() for _ in range(min(len(waiting), cap - len(running)))]:
            running[request] = step + request.calls
            now += profile.encode
            waiting += traffic.arrived(now)
        now += profile.step_seconds(len(running))
        steps[len(running), len(running)] += 1
        step += 1
        waiting += traffic.arrived(now)
        for request in [one for one, last in running.items() if last == step]:
            now += profile.decode
            waiting += traffic.arrived(now)
            del running[request]
            traffic.end(request, now)
    return run_of(traffic, profile, steps)
