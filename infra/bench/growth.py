"""Whether the service grows: with its workers, and with the jobs that wait.

Reading order: fleet, demand; depth, line.
"""

from infra.bench import depth, fleet
from infra.bench.report import Effort, Finding, Watch


def measure(effort: Effort, watch: Watch) -> Finding:
    """Ever more workers, then ever longer queues."""
    workers, more_workers = fleet.measure(effort, lambda share, doing: watch(share / 2, doing))
    queues, longer = depth.measure(effort, lambda share, doing: watch((1 + share) / 2, doing))
    return Finding({"workers": workers, "queues": queues}, [*more_workers, *longer])
