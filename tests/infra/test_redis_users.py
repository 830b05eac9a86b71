"""What each kind of process may do in Redis, beside what the whole service's tests need it to."""

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from infra.local import Stack


@pytest.fixture(scope="module")
def as_user(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack"), port=0, processes=("redis",)) as stack:
        yield lambda user: Redis.from_url(stack.redis_url.replace("//operator:", f"//{user}:"))


@pytest.mark.parametrize("user", ["api", "worker", "courier"])
@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "KEYS *", "CONFIG GET requirepass", "ACL LIST", "MONITOR"],
)
def test_no_process_may_run(user, command, as_user):
    with as_user(user) as redis, pytest.raises(NoPermissionError):
        redis.execute_command(*command.split(" "))


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ("worker", "idem:acme:1"),
        ("worker", "jobs:acme"),
        ("worker", "attempts:1"),
        ("worker", "api_keys"),
        ("courier", "api_keys"),
        ("courier", "idem:acme:1"),
        ("courier", "jobs:acme"),
        ("api", "unacked"),
        ("api", "reap:last"),
    ],
)
def test_keys_that_are_no_business_of(user, key, as_user):
    with as_user(user) as redis, pytest.raises(NoPermissionError):
        redis.type(key)


def test_who_gives_no_password_may_only_ask_whether_it_lives(as_user):
    with as_user("operator") as redis:
        address = redis.connection_pool.connection_kwargs
    with Redis(host=address["host"], port=address["port"]) as nobody:
        assert nobody.ping()
        with pytest.raises(NoPermissionError):
            nobody.get("job:1")
