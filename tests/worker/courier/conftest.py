from collections.abc import Iterator

import pytest

from shared.config import Settings
from tests.ledger import Ledger
from tests.worker.courier.running import LEASE, Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings(lease=LEASE))
