"""Who gets in, and for what: keys, scopes, rates."""

import json
import random
import time

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from api import auth
from api.dependencies import ByField, ByHeader
from api.keys import main
from api.routes.operations import OPERATIONS
from shared import keyring as keyrings
from shared.api_keys import NewKey, new_key
from shared.jobs import MAX_JOB_ID
from shared.ledger.connect import connect_for_requests
from shared.tenants import Entry, Tenants
from tests.api.conftest import KEY, OTHER_KEY
from tests.servers import free_port

pytestmark = pytest.mark.anyio

COUNT = "/api/v6/processing/request_count"
OPEN = {
    "/healthz", "/readyz", "/metrics", "/generations/{name}", "/temp/{name}", "/uploads/{name}",
    "/v1/errors/{code}", "/docs", "/docs/oauth2-redirect",
}  # fmt: skip


@pytest.fixture
def keyring(app) -> keyrings.Keyring:
    return app.state.keyring


async def make_key(keyring, **fields) -> tuple[str, str]:
    key, id_, _ = await keyring.create(NewKey(**{"tenant": "carol"} | fields))
    return key, id_


async def test_every_route_asks_for_a_scope_or_is_meant_for_anybody(app):
    routes = [one for one in iter_route_contexts(app.routes) if isinstance(one.route, APIRoute)]
    scopes = [(one.path, scopes_of(one.dependant)) for one in routes]

    assert {path for path, wanted in scopes if not wanted} == OPEN
    assert all(len(wanted) <= 1 for _, wanted in scopes)
    of_operators = {path for path in OPERATIONS if not path.endswith("/clear_queue")}
    assert {path for path, wanted in scopes if wanted == {"admin"}} == of_operators | {
        path for path, _ in scopes if path.startswith("/v1/admin/")
    }


def scopes_of(dependant) -> set[str]:
    own = {dependant.call.scope} if isinstance(dependant.call, ByField | ByHeader) else set()
    return own.union(*map(scopes_of, dependant.dependencies))


@pytest.mark.parametrize(
    ("scopes", "method", "path", "status"),
    [
        (["read"], "GET", "/v1/jobs", 200),
        (["read"], "POST", "/v1/text2img", 403),
        (["read"], "POST", "/api/v3/text2img", 403),
        (["submit"], "GET", "/v1/jobs", 403),
        (["submit"], "POST", "/v1/text2img", 202),
        (["submit"], "DELETE", "/v1/jobs/1", 404),
        (["submit", "read"], "GET", "/v1/admin/keys", 403),
        (["admin"], "GET", "/v1/admin/keys", 200),
        (["admin"], "GET", "/v1/jobs", 403),
    ],
)
async def test_a_key_does_what_its_scopes_allow(client, keyring, scopes, method, path, status):
    key, _ = await make_key(keyring, scopes=scopes)
    body = {"prompt": "a cat"} if method == "POST" else None

    answer = await client.request(method, path, headers={"x-api-key": key}, json=body)

    assert answer.status_code == status, answer.text
    if status == 403 and path.startswith("/v1"):
        assert answer.json()["error"]["code"] == "not_allowed"


async def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(client, keyring, monkeypatch):
    monkeypatch.setattr(keyrings, "FRESH_SECONDS", 0.0)
    revoked, id_ = await make_key(keyring)
    assert (await client.get(COUNT, headers={"key": revoked})).status_code == 200
    await keyring.revoke(id_)
    expired, _ = await make_key(keyring, expires="1m")
    ahead = time.time() + 61
    monkeypatch.setattr(keyrings.time, "time", lambda: ahead)

    keys = [new_key(), f"{new_key()[:-1]}-", "nobody's", revoked, expired]
    answers = [await client.get(COUNT, headers={"key": key}) for key in keys]

    assert {(a.status_code, a.text, str(a.headers)) for a in answers} == {
        (401, answers[0].text, str(answers[0].headers))
    }


async def test_a_new_key_works_at_once_and_a_revoked_one_not_for_long(
    client, keyring, settings, monkeypatch
):
    key, id_ = await make_key(keyring)
    assert (await client.get(COUNT, headers={"key": key})).status_code == 200
    async with connect_for_requests(settings.redis_url) as another_process:
        await keyrings.Keyring(another_process, settings.key_pepper).revoke(id_)

    later = time.monotonic() + keyrings.FRESH_SECONDS + 0.1
    monkeypatch.setattr(keyrings.time, "monotonic", lambda: later)

    assert (await client.get(COUNT, headers={"key": key})).status_code == 401


async def test_what_a_newer_version_wrote_is_read_as_far_as_it_is_known(client, keyring, redis):
    key, id_ = await make_key(keyring, scopes=["read"])
    [digest] = redis.hkeys("api_keys")
    newer = json.loads(redis.hget("api_keys", digest)) | {
        "scopes": ["read", "pay"],
        "colour": "red",
    }
    redis.hset("api_keys", digest, json.dumps(newer))
    redis.hset("tenants", "carol", json.dumps({"most_live": 3, "colour": "red"}))

    assert (await client.get(COUNT, headers={"key": key})).status_code == 200
    assert (await keyring.tenants())["carol"].most_live == 3
    assert (await keyring.revoke(id_)).disabled is not None


async def test_a_record_that_cannot_be_read_is_in_no_ones_way(keyring, redis, caplog):
    _, id_ = await make_key(keyring)
    redis.hset("api_keys", "0" * 64, "{}")
    redis.hset("tenants", "broken", "[]")

    assert list(await keyring.keys()) == [id_]
    assert await keyring.tenants() == {}
    assert (await keyring.revoke(id_)).disabled is not None
    assert "cannot be read" in caplog.text


async def test_two_keys_of_a_tenant_open_the_same_jobs(client, keyring):
    first, second = [(await make_key(keyring))[0] for _ in range(2)]
    made = await client.post("/v1/text2img", json={"prompt": "a"}, headers={"x-api-key": first})

    found = await client.get(f"/v1/jobs/{made.json()['id']}", headers={"x-api-key": second})

    assert found.json()["id"] == made.json()["id"]


async def test_a_key_made_for_a_tenant_of_the_file_has_its_terms(app, keyring):
    app.state.tenants = Tenants([Entry(tenant="alice", key=KEY, most_live=5)])
    key, id_ = await make_key(keyring, tenant="alice", scopes=["read"])

    tenant = await keyring.of_key(key, app.state.tenants)

    assert (tenant.tenant, tenant.most_live, tenant.scopes) == ("alice", 5, {"read"})
    assert tenant.key_id == id_


@pytest.mark.parametrize(
    ("query", "body", "headers", "status"),
    [
        ({}, {"key": KEY}, {"key": KEY}, 200),
        ({"key": KEY}, {}, {}, 200),
        ({}, {"key": KEY}, {"Authorization": f"Bearer {KEY}"}, 200),
        ({}, {"key": KEY}, {"Authorization": f"Bearer {OTHER_KEY}"}, 401),
        ({}, {"key": KEY}, {"key": OTHER_KEY}, 401),
        ({"key": OTHER_KEY}, {"key": KEY}, {}, 401),
        ({}, {"key": [KEY]}, {}, 401),
    ],
)
async def test_two_keys_that_differ_are_nobodys(client, query, body, headers, status):
    answer = await client.post(COUNT, params=query, json=body, headers=headers)

    assert answer.status_code == status


async def test_wrong_keys_are_counted_by_address_and_a_good_one_still_works(client, monkeypatch):
    monkeypatch.setattr(auth.time, "time", lambda: 600.0)
    wrong = [await client.get(COUNT, headers={"key": f"guess-{n}"}) for n in range(62)]
    good = await client.get(COUNT, headers={"key": KEY})

    assert [answer.status_code for answer in wrong] == [401] * 60 + [429] * 2
    assert wrong[-1].headers["retry-after"] == "60"
    assert wrong[-1].json()["message"].startswith("Rate limit exceeded.")
    assert good.status_code == 200


async def test_a_key_with_a_request_rate_is_told_when_to_come_back(client, app):
    app.state.tenants = Tenants(
        [
            Entry(tenant="alice", key=KEY, most_requests=0.1),
            Entry(tenant="alice", key=OTHER_KEY, most_requests=0.1),
        ]
    )
    first, second = [await client.get(COUNT, headers={"key": KEY}) for _ in range(2)]
    other = await client.get(COUNT, headers={"key": OTHER_KEY})

    assert [a.status_code for a in (first, second, other)] == [200, 429, 200]
    assert second.json()["retry_after"] == int(second.headers["retry-after"]) == 10


async def test_a_thousand_unknown_and_foreign_ids_get_one_answer(client, redis):
    headers = {"Authorization": f"Bearer {OTHER_KEY}"}
    made = await client.post("/v1/text2img", json={"prompt": "a cat"}, headers={"x-api-key": KEY})
    record = redis.dump(f"job:{made.json()['id']}")
    ids = random.Random(6).sample(range(10**15, MAX_JOB_ID), 1100)
    foreign, unknown = ids[:550], ids[550:]
    for job_id in foreign:
        redis.restore(f"job:{job_id}", 0, record)

    answers = {
        await answer_to(client, method, path, job_id, headers)
        for index, job_id in enumerate([*foreign, *unknown])
        for method, path in [WAYS[index % len(WAYS)]]
    }

    assert len(answers) == len(WAYS)
    assert {redis.hget(f"job:{job_id}", "state") for job_id in foreign} == {"queued"}


WAYS = [
    ("POST", "/api/v3/fetch/{}"), ("GET", "/api/v3/fetch/{}"), ("POST", "/api/v6/images/fetch/{}"),
    ("GET", "/v1/jobs/{}"), ("DELETE", "/v1/jobs/{}"), ("GET", "/v1/jobs/{}/events"),
    ("GET", "/v1/webhooks?job={}"), ("POST", "/v1/webhooks/{}/replay"),
    ("POST", "/api/v3/fetch"), ("POST", "/api/v3/delete_image"), ("GET", "/v1/jobs?cursor={}"),
]  # fmt: skip


async def answer_to(client, method, path, job_id, headers) -> tuple:
    """Status, body and headers; without the id, and the request's own."""
    body = {"request_id": job_id} if method == "POST" and "{}" not in path else None
    answer = await client.request(method, path.format(job_id), headers=headers, json=body)
    request_id = answer.headers.get("x-request-id", "-")
    own = sorted((n, v) for n, v in answer.headers.items() if n not in ("x-request-id",))
    text = answer.text.replace(str(job_id), "ID").replace(request_id, "REQUEST")
    return method, path, answer.status_code, text, str(own)


def test_the_command_line_makes_lists_and_revokes(settings, monkeypatch, capsys):
    monkeypatch.setenv("IMG2IMG_REDIS_URL", settings.redis_url)
    assert main(["create", "--tenant", "dave", "--expires", "90d", "--name", "shop"]) == 0
    key, about = capsys.readouterr().out.strip(), None

    assert main(["list", "--tenant", "dave"]) == 0
    about = capsys.readouterr().out
    assert key not in about
    assert all(word in about for word in ("dave", "read,submit", "works", key[-4:], "shop"))

    assert main(["revoke", about.split()[0]]) == 0
    assert main(["revoke", "no-such-id"]) == 1
    main(["list"])
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--scopes", "all"], ["--expires", "soon"]])
def test_the_command_line_names_what_is_wrong(settings, monkeypatch, capsys, wrong):
    monkeypatch.setenv("IMG2IMG_REDIS_URL", settings.redis_url)

    assert main(["create", "--tenant", "dave", *wrong]) == 2
    assert wrong[0] in capsys.readouterr().err


def test_the_command_line_says_which_redis_it_misses(monkeypatch, capsys):
    monkeypatch.setenv("IMG2IMG_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")

    assert main(["list"]) == 1
    assert "IMG2IMG_REDIS_URL" in capsys.readouterr().err
