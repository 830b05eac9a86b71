"""Clients for the ledger: one that answers or fails soon, one that waits while Redis is away."""

import redis.asyncio
from redis import Redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

AWAY = [RedisConnectionError, RedisTimeoutError, OutOfMemoryError, ReadOnlyError]
"""Gone, failing over or full: worth waiting for. Other errors are answers."""


def connect_for_requests(url: str) -> redis.asyncio.Redis:
    """For the front door and couriers: a caller waits, so it fails within seconds."""
    return redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=1,
        socket_timeout=3,
        socket_keepalive=True,
        health_check_interval=10,
        retry=AsyncRetry(ExponentialBackoff(cap=0.2, base=0.02), 2),
    )


def connect_for_work(url: str) -> Redis:
    """For GPU workers: a result in hand is worth a minute of waiting."""
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=2,
        socket_timeout=3,
        socket_keepalive=True,
        health_check_interval=10,
        retry=Retry(ExponentialBackoff(cap=1, base=0.05), 60),
        retry_on_error=AWAY,
    )
