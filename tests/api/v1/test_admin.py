"""Tenants and keys by the API, and what their limits do."""

from dataclasses import replace
from datetime import timedelta

import jsonschema_rs
import pytest

from shared.tenants import Entry, Tenants
from tests.api.conftest import KEY, OTHER_KEY

pytestmark = pytest.mark.anyio

LONG_AGO = 1


@pytest.fixture
def operator(app, alice):
    """Alice, whose key may do everything."""
    entries = [
        Entry(tenant="alice", key=KEY, scopes={"submit", "read", "admin"}, most_running=1),
        Entry(tenant="bob", key=OTHER_KEY),
    ]
    app.state.tenants = Tenants(entries)
    return alice


async def test_a_key_is_made_used_listed_and_revoked(operator):
    asked = {"tenant": "carol", "name": "shop", "scopes": ["read"], "expires": "90d"}
    made = (await operator.post("/admin/keys", json=asked)).json()
    jobs = await operator.get("/jobs", headers={"Authorization": f"Bearer {made['key']}"})
    (listed,) = (await operator.get("/admin/keys", params={"tenant": "carol"})).json()["keys"]
    revoked = await operator.delete(f"/admin/keys/{made['id']}")
    after = await operator.get("/jobs", headers={"Authorization": f"Bearer {made['key']}"})

    assert (jobs.status_code, after.status_code) == (200, 401)
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert (listed["last4"], listed["scopes"]) == (made["key"][-4:], ["read"])
    assert revoked.json()["disabled"] is not None
    assert (await operator.delete("/admin/keys/unknown")).status_code == 404


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"tenant": "no spaces"}, "tenant"),
        ({"scopes": ["all"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"expires": "soon"}, "expires"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_wrong_with_a_new_key_is_named(operator, changes, param):
    answer = await operator.post("/admin/keys", json={"tenant": "carol"} | changes)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_tenant_gets_terms_and_its_keys_go_with_it(operator):
    put = await operator.put("/admin/tenants/carol", json={"most_live": 1})
    made = (await operator.post("/admin/keys", json={"tenant": "carol"})).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    jobs = [
        await operator.post("/text2img", json={"prompt": "a"}, headers=headers) for _ in range(2)
    ]
    listed = (await operator.get("/admin/tenants")).json()["tenants"]
    deleted = [await operator.delete("/admin/tenants/carol") for _ in range(3)]

    assert put.json()["most_live"] == 1
    assert [job.status_code for job in jobs] == [202, 429]
    assert {one["tenant"]: one["in_file"] for one in listed} == {
        "alice": True, "bob": True, "carol": False,
    }  # fmt: skip
    assert [answer.status_code for answer in deleted] == [204, 404, 404]
    assert (await operator.get("/jobs", headers=headers)).status_code == 401
    assert (await operator.get("/admin/tenants")).json()["tenants"] == listed[:2]


@pytest.mark.parametrize(
    ("terms", "status"),
    [
        ({}, 200),
        ({"most_live": 5.0, "weight": 2, "most_running": None, "errors_as_200": True}, 200),
        ({"errors_as_200": 0}, 400),
        ({"most_live": "5"}, 400),
        ({"weight": True}, 400),
    ],
)
async def test_terms_are_read_as_they_are_typed(operator, terms, status):
    assert (await operator.put("/admin/tenants/carol", json=terms)).status_code == status


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_tenants_of_the_file_are_changed_there(operator, method):
    answer = await operator.request(method, "/admin/tenants/bob", json={"weight": 3})

    assert answer.status_code == 400
    assert "keys file" in answer.json()["error"]["message"]


async def test_a_job_says_that_its_keys_limit_holds_it_back(app, operator, worker):
    documented = jsonschema_rs.validator_for(app.openapi()["components"]["schemas"]["QueuePlace"])

    jobs = [(await operator.post("/text2img", json={"prompt": "a"})).json() for _ in range(2)]

    assert [job["queue"]["reason"] for job in jobs] == ["its_turn_comes", "key_at_its_limit"]
    assert [job["queue"] for job in jobs if not documented.is_valid(job["queue"])] == []


async def test_while_the_queue_is_paused_jobs_are_accepted_and_say_why_they_wait(
    app, operator, body, worker
):
    documented = jsonschema_rs.validator_for(app.openapi()["components"]["schemas"]["QueuePlace"])
    before = (await operator.post("/text2img", json={"prompt": "a"})).json()
    paused = await operator.post("/admin/pause")
    (model,) = (await operator.get("/models")).json()["models"]
    job = (await operator.post("/text2img", json={"prompt": "a"})).json()
    tried = (await operator.post("/text2img", json={"prompt": "a", "dry_run": True})).json()
    details = await operator.post("http://door/api/v1/enterprise/system_details")
    on_its_way = (await operator.get(f"/jobs/{before['id']}")).json()

    resumed = await operator.post("/admin/resume", params={"pool": "default"})
    await operator.delete(f"/jobs/{before['id']}")
    after = (await operator.get(f"/jobs/{job['id']}")).json()

    assert (paused.json(), resumed.json()) == ({"paused": ["default"]}, {"resumed": ["default"]})
    assert job["queue"] == {"position": 2, "reason": "queue_paused", "eta": None}
    assert documented.is_valid(job["queue"])
    assert (model["is_paused"], tried["has_worker"], tried["eta"]) == (True, True, None)
    assert details.json()["pools"]["default"]["paused"] is True
    assert on_its_way["queue"]["reason"] == after["queue"]["reason"] == "its_turn_comes"


@pytest.mark.parametrize("path", ["/admin/pause", "/admin/resume"])
async def test_only_operators_hold_the_queue_back_and_only_pools_that_there_are(
    operator, bob, path
):
    unknown = await operator.post(path, params={"pool": "big"})

    assert (await bob.post(path)).status_code == 403
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (400, "pool")
    assert unknown.json()["error"]["message"] == "pool must be one of default, got 'big'"


async def test_when_devices_are_behind_new_jobs_are_refused_and_old_ones_can_be_read(
    app, alice, submit, redis
):
    old = await submit()
    redis.zadd("waiting:default", {str(old["id"]): LONG_AGO})
    late = app.state.door.settings.model_copy(update={"shed_after": timedelta(minutes=1)})
    app.state.door = replace(app.state.door, settings=late)

    refused = await alice.post("/text2img", json={"prompt": "a"})

    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) > 0
    assert (await alice.get(f"/jobs/{old['id']}")).status_code == 200
    assert (await alice.delete(f"/jobs/{old['id']}")).status_code == 200
