"""One service for each module: its faults come one after the other."""

from collections.abc import Iterator

import pytest

from tests.e2e.failures.scene import SLOWLY, Scene, scene


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    """What a module changes."""
    return SLOWLY


@pytest.fixture(scope="module")
def service(tmp_path_factory, settings) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("scene"), **settings) as service:
        service.submit()
        assert service.settled(extra_starts=0) == {"succeeded": 1}
        yield service
