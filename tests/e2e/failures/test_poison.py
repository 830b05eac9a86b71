"""Jobs that end, hang or break whatever runs them."""

import pytest

from tests.e2e.failures.scene import LONG, SLOWLY

POISON = ("kill@3", "hang@3", "raise@3", "full@3", "nothing@0")


@pytest.fixture(scope="module")
def settings():
    """A second attempt is the last: a neighbour that is blamed twice would fail."""
    return SLOWLY | {"IMG2IMG_MAX_ATTEMPTS": "2", "IMG2IMG_STALL_TIMEOUT": "3"}


def test_whatever_a_job_does_to_its_worker_its_neighbours_succeed(service):
    poison = [service.submit(**LONG, prompt=prompt) for prompt in POISON]
    neighbours = [service.submit(**LONG, seed=n) for n in range(6)]

    # Each of the three that come back does so once, and each death sends back who is in the way:
    # at work once, waiting as often as somebody else is found out.
    ended = service.settled(extra_starts=3 + 4 * len(neighbours + poison), seconds=120)

    assert ended == {"succeeded": len(neighbours), "failed": len(POISON)}
    assert all(service.state(job) == "succeeded" for job in neighbours)
    dead = {letter["job"] for _, letter in service.redis.xrange("dead")}
    gave_up = {str(job) for job in poison[:3]}
    assert gave_up <= dead <= {str(job) for job in poison}, "neighbours are blamed for nothing"
