"""The way past the framework answers as its own does, to which a long header takes a request."""

import json

import pytest

from api.dependencies import ByField, ByHeader, _door
from api.fields import read_fields, read_json
from api.routes import images, v1
from tests.api.conftest import KEY

pytestmark = pytest.mark.anyio

USUAL = {"X-Anything": "x" * 256}
GOOD = {"key": KEY, "prompt": "a cat", "init_image": "https://example.com/a.png", "seed": 1}
BEARER = {"Authorization": f"Bearer {KEY}"}
HEADERS = {"prefer", "idempotency-key", "cancel-after"}
RANDOM = ("id", "request_id", "eta", "created", "file_prefix", "urls")
"""What differs from one job to the next."""
REQUESTS = {
    "a job": {"json": GOOD, "headers": {"Prefer": "respond-async"}},
    "a job in /v1": {"json": GOOD, "headers": BEARER | {"Prefer": "respond-async"}},
    "a form": {"data": GOOD},
    "a query string": {"params": GOOD},
    "no key": {"json": GOOD | {"key": None}},
    "a wrong key": {"json": GOOD | {"key": "nobody's"}, "headers": {"X-API-Key": "nobody's"}},
    "two keys": {"json": GOOD | {"key": "nobody's"}, "headers": BEARER},
    "no JSON": {"content": b'{"prompt":', "headers": BEARER},
    "wrong fields": {"json": GOOD | {"strength": 7, "width": "wide"}, "headers": BEARER},
    "an address inside": {"json": GOOD | {"init_image": "http://10.0.0.1/"}, "headers": BEARER},
    "a bad deadline": {"json": GOOD, "headers": BEARER | {"Cancel-After": "soon"}},
    "a wrong dry run": {"json": GOOD | {"dry_run": 1}, "headers": BEARER},
    "a dry run": {"json": GOOD | {"dry_run": True}, "headers": BEARER},
}


@pytest.mark.parametrize("path", ["/api/v3/img2img", "/v1/img2img"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_both_ways_give_the_same_answer(client, path, request_):
    direct = await client.post(path, **request_)
    usual = await client.post(path, **request_ | {"headers": request_.get("headers", {}) | USUAL})

    assert direct.status_code == usual.status_code
    assert shown(direct) == shown(usual)
    assert {*direct.headers} == {*usual.headers}
    assert direct.headers["content-type"] == usual.headers["content-type"]


async def test_a_route_behind_it_is_still_found_by_its_name(app):
    assert app.url_path_for("get_job", job_id="1") == "/v1/jobs/1"


def shown(answer) -> str:
    """The body, in its own order, without what is random."""

    def plain(pairs):
        return {name: "..." if name in RANDOM else value for name, value in pairs}

    body = json.loads(answer.text, object_pairs_hook=plain)
    for links in ("fetch_result", "tip", "future_links", "queue"):
        body.pop(links, None)
    return json.dumps(body)


@pytest.mark.parametrize(
    ("router", "depends"),
    [
        (images.router, [read_fields, ByField("submit"), _door]),
        (v1.images.router, [read_json, ByHeader("submit"), _door]),
    ],
    ids=["public", "v1"],
)
def test_every_endpoint_takes_what_it_is_called_with(router, depends):
    posted = [route for route in router.routes if route.methods == {"POST"}]

    assert posted
    for route in posted:
        assert [each.call for each in route.dependant.dependencies] == depends
        assert {param.alias for param in route.dependant.header_params} <= HEADERS
        assert route.dependant.query_params == route.dependant.body_params == []


async def test_an_idempotency_key_that_is_too_long_is_refused_as_ever(client):
    answer = await client.post("/api/v3/img2img", json=GOOD, headers={"Idempotency-Key": "k" * 256})

    assert answer.status_code == 400
    assert "idempotency-key" in answer.text.lower()


async def test_a_job_is_accepted_though_nobody_can_read_how_busy_its_pool_is(client, redis):
    redis.hset("service:default:busy", "of a newer version", 1)

    answer = await client.post("/api/v3/img2img", json=GOOD)

    assert answer.json()["status"] == "processing"
    assert redis.exists(f"job:{answer.json()['id']}")
