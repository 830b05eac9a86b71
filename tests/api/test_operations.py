"""What operators do through the public API's enterprise calls."""

import threading
from datetime import timedelta

import pytest

from api.routes import operations
from api.routes.operations import OPERATIONS
from shared.ledger.attempts import WorkerRecord
from shared.ledger.orders import Inbox
from shared.tenants import Entry, Tenants
from tests.api.conftest import KEY, OTHER_KEY

pytestmark = pytest.mark.anyio

PREFIX = "/api/v1/enterprise"
ADMIN = {"tenant": "operator", "key": "secret-of-operator", "scopes": ["submit", "read", "admin"]}


@pytest.fixture
async def ask(app, client):
    app.state.tenants = Tenants(
        [
            Entry(tenant="alice", key=KEY),
            Entry(tenant="bob", key=OTHER_KEY),
            Entry.model_validate(ADMIN),
        ]
    )

    async def ask(path, key=ADMIN["key"], **fields):
        path = path if path.startswith("/api") else f"{PREFIX}/{path}"
        answer = await client.post(path, json={"key": key} | fields)
        return answer.status_code, answer.json()

    return ask


@pytest.fixture
def worker(attempts, redis):
    """A worker of the default pool that answers at once; what it was ordered."""
    record = WorkerRecord(
        "gpu0", frozenset({"default"}), slots=1, occupancy=1.0, steps=0, models=frozenset({"demo"})
    )
    attempts.register(record, lifetime=timedelta(hours=1))
    inbox, heard, stop = Inbox(redis, "gpu0"), [], threading.Event()

    def listen():
        while not stop.wait(0.02):
            for order in inbox.read():
                heard.append((order.what, order.model_id))
                inbox.answer(order, "done")

    thread = threading.Thread(target=listen)
    thread.start()
    yield heard
    stop.set()
    thread.join()


@pytest.mark.parametrize("path", [path for path in OPERATIONS if "clear_queue" not in path])
async def test_operations_need_the_scope_admin(ask, worker, path):
    status, body = await ask(path, key=KEY, model_id="demo")

    assert (status, body["message"]) == (403, "This API key lacks the scope admin")
    assert worker == []


@pytest.mark.parametrize(
    ("path", "message", "order"),
    [
        ("restart_server", "Server restart started", ("drain", "")),
        ("clear_cache", "Cache cleared", ("forget", "")),
        ("/api/v5/clear_cache", "Cache cleared", ("forget", "")),
        ("load_model", "model load started", ("load", "demo")),
        ("load_model_v2", "model load started", ("load", "demo")),
        ("/api/v4/dreambooth/model_reload", "model load started", ("load", "demo")),
        ("/api/v6/images/model_reload", "model load started", ("load", "demo")),
    ],
)
async def test_workers_do_what_is_ordered(ask, worker, path, message, order):
    status, body = await ask(path, model_id="demo", url="https://example.com/x.ckpt")

    assert (status, body["status"], body["message"]) == (200, "success", message)
    assert worker == [order]


async def test_a_model_that_is_not_listed_is_not_loaded(ask, worker):
    status, body = await ask("load_model", model_id="new", url="https://example.com/new.ckpt")

    assert (status, body["message"]) == (400, "Model not found: new")
    assert worker == []


async def test_a_model_that_is_not_named_is_not_loaded(ask, worker):
    status, body = await ask("load_model", url="https://example.com/new.ckpt")

    assert (status, body["message"]) == (400, "model_id is required")
    assert worker == []


@pytest.mark.parametrize("path", ["restart_server", "clear_cache", "load_model"])
async def test_without_a_worker_nothing_is_said_to_be_done(ask, path):
    status, body = await ask(path, model_id="demo")

    assert (status, body["status"]) == (503, "error")


@pytest.fixture
def deaf(attempts, monkeypatch):
    """A worker that is listed, and does not answer."""
    monkeypatch.setattr(operations, "PATIENCE", 0.5)
    record = WorkerRecord("deaf", frozenset({"default"}), slots=1, occupancy=1.0, steps=0)
    attempts.register(record, lifetime=timedelta(hours=1))


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("path", ["restart_server", "clear_cache", "load_model"])
async def test_where_no_worker_answers_nothing_is_said_to_be_done(ask, path):
    assert (await ask(path, model_id="demo"))[0] == 503


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("path", ["restart_server", "clear_cache", "load_model"])
async def test_what_some_workers_heard_is_done_and_the_silent_are_named(ask, worker, path):
    status, body = await ask(path, model_id="demo")

    assert (status, body["status"], body["silent"]) == (200, "success", ["deaf"])
    assert len(worker) == 1
    assert body.get("workers") in (None, 1)


async def submitted(client, request_body, key):
    answer = await client.post("/api/v3/img2img", json=request_body | {"key": key})
    return answer.json()["id"]


@pytest.mark.parametrize(
    ("key", "states"),
    [(KEY, ["failed", "processing"]), (ADMIN["key"], ["failed", "failed"])],
)
async def test_the_queue_is_cleared_as_far_as_the_key_may(ask, client, request_body, key, states):
    jobs = {own: await submitted(client, request_body, own) for own in (KEY, OTHER_KEY)}

    status, body = await ask("clear_queue", key=key)

    assert (status, body["status"], body["cancelled"]) == (200, "success", states.count("failed"))
    found = [await ask(f"/api/v3/fetch/{job}", key=own) for own, job in jobs.items()]
    assert [answer["status"] for _, answer in found] == states


async def test_system_details_say_which_models_are_in_memory(ask, worker):
    _, body = await ask("system_details", key=KEY)

    assert body["pools"]["default"]["loaded"] == ["demo"]
