"""A bucket that answers with errors: what is worth another try, and what is not."""

import pytest

from shared.config import Settings
from shared.object_store import STORE_ERRORS, ObjectStore
from tests.servers import Reply, http_server

ERROR = "<Error><Code>{}</Code><Message>no</Message></Error>"
KEY = "generations/a-0.png"


def store_at(url: str) -> ObjectStore:
    return ObjectStore.connect(
        Settings(s3_endpoint=url, s3_access_key="a", s3_secret_key="b"), read_seconds=1
    )


def error(status: int, code: str) -> Reply:
    return Reply(status, ERROR.format(code).encode(), {"Content-Type": "application/xml"})


@pytest.mark.parametrize("reply", [error(503, "SlowDown"), error(500, "InternalError")])
def test_a_server_that_is_overloaded_is_asked_again(reply):
    replies = [reply, reply, Reply(200)]
    with http_server(lambda _: replies.pop(0)) as server:
        store_at(server.url).put(KEY, b"png", "image/png", job_id=1)

    assert [(r.method, r.body) for r in server.requests] == [("PUT", b"png")] * 3


@pytest.mark.parametrize(
    "reply",
    [
        error(400, "ExpiredToken"),
        error(403, "SignatureDoesNotMatch"),
        error(400, "BadDigest"),
        error(507, "InsufficientStorage"),
    ],
)
def test_a_refusal_is_an_error_at_once(reply):
    with (
        http_server(lambda _: reply) as server,
        pytest.raises(STORE_ERRORS),
    ):
        store_at(server.url).put(KEY, b"png", "image/png", job_id=1)

    assert len(server.requests) == 1
