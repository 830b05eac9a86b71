from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from shared.config import Settings
from tests.ledger import Ledger
from tests.servers import Reply, http_server
from tests.worker.courier.desk import Desk
from tests.worker.courier.running import LEASE, SECRET, Receiver, receiving
from worker.courier.config import CourierSettings


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings(lease=LEASE))


@pytest.fixture
def desk(redis, valkey_server) -> Desk:
    settings = CourierSettings(
        redis_url=valkey_server.url,
        outbound_allow="127.0.0.1",
        webhook_secret=SECRET,
        webhook_timeout=timedelta(seconds=5),
    )
    return Desk(Ledger(redis, settings), settings)


@pytest.fixture
def replying():
    """Starts a receiver that gives these answers, the last one again and again."""
    with ExitStack() as servers:

        def start(*replies: Reply):
            left = list(replies)
            return servers.enter_context(
                http_server(lambda request: left.pop(0) if len(left) > 1 else left[0])
            )

        yield start
