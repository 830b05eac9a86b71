"""What came of a drill: lost, failed, doubled, and how long it took to recover."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.demo.receiver import Delivery
from infra.drill.stream import Sent

PROCESSING = "processing"


@dataclass(frozen=True)
class Kill:
    """A process that was ended."""

    what: str
    at: float
    """By the monotonic clock."""


@dataclass(frozen=True)
class Findings:
    """Counts of jobs, and lines for the operator."""

    accepted: int
    lost: int
    """Without a webhook, though over."""
    late: int
    """Without a webhook, and not over: the service still works on them."""
    failed: int
    """Ended otherwise than with a picture, or the service now says otherwise than the webhook."""
    doubled: int
    """With two webhooks that a receiver cannot know for one."""
    repeated: int
    """Delivered again under the same id and with the same body, as receivers are told to expect."""
    recovered: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether no customer missed anything."""
        return not (self.lost or self.late or self.failed or self.doubled)

    def lines(self) -> list[str]:
        """For people."""
        counts = f"{self.lost} lost, {self.failed} failed, {self.doubled} doubled"
        again = f"{self.repeated} delivered again under the same webhook-id"
        lines = [f"{self.accepted} jobs accepted: {counts}; {again}", *self.recovered]
        if self.late:
            lines.append(f"{self.late} are not done yet: give it more --patience")
        return lines


def findings(
    sent: Sequence[Sent],
    deliveries: Mapping[str, Sequence[Delivery]],
    results: Mapping[int, str],
    kills: Sequence[Kill],
) -> Findings:
    """`deliveries` by track_id; `results`: what status each job has afterwards."""
    told = {job.track_id: deliveries.get(job.track_id, ()) for job in sent}
    came = [job for job in sent if told[job.track_id]]
    distinct = {track: {_identity(one) for one in all_} for track, all_ in told.items()}
    late = sum(results[job.job_id] == PROCESSING for job in sent if job not in came)
    bodies = {job.job_id: json.loads(told[job.track_id][0].body) for job in came}
    return Findings(
        accepted=len(sent),
        lost=len(sent) - len(came) - late,
        late=late,
        failed=sum({body["status"], results[n]} != {"success"} for n, body in bodies.items()),
        doubled=sum(len(ways) > 1 for ways in distinct.values()),
        repeated=sum(len(told[track]) - len(ways) for track, ways in distinct.items() if ways),
        recovered=tuple(_recovered(kill, came, told) for kill in kills),
    )


def _identity(delivery: Delivery) -> tuple[str, bytes]:
    headers = {name.lower(): value for name, value in delivery.headers.items()}
    return headers["webhook-id"], delivery.body


def _recovered(kill: Kill, came: Sequence[Sent], told: Mapping[str, Sequence[Delivery]]) -> str:
    arrivals = [told[job.track_id][0].at for job in came if job.at <= kill.at]
    waits = [arrival - kill.at for arrival in arrivals if arrival > kill.at]
    last = f"the last one was told of {max(waits):.1f} s later" if waits else "nobody waited"
    return f"{kill.what} killed with {len(waits)} jobs under way: {last}"
