"""What many tests share: a real Valkey, emptied between tests, and a real S3 server."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from redis import Redis

from tests.servers import Nanio, Valkey, nanio, valkey

settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "write what the API answers now into tests/api/golden"
    parser.addoption("--rewrite-golden", action="store_true", help=text)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory) -> Iterator[Valkey]:
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory) -> Iterator[Nanio]:
    with nanio(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def redis(valkey_server) -> Iterator[Redis]:
    """A client of an empty Valkey."""
    with Redis.from_url(valkey_server.url, decode_responses=True) as client:
        client.flushall()
        yield client
