import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from shared.config import Settings
from shared.jobs import attempt_prefix
from shared.object_store import (
    STORE_ERRORS,
    ObjectStore,
    StoredObject,
    input_key,
    possible_keys,
)
from tests import servers

KEY = "generations/0f8fad5b-d9cb-469f-a165-70867728950e-0.png"
TEMP_KEY = KEY.replace("generations", "temp")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


@pytest.fixture(scope="module")
def nanio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with servers.nanio(tmp_path_factory.mktemp("nanio")) as server:
        yield settings_for(server.endpoint, server.access_key, server.secret_key)


@pytest.fixture(scope="module")
def moto() -> Iterator[Settings]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield settings_for(f"http://{host}:{port}", "access", "secret")
    server.stop()


@pytest.fixture(params=["nanio", "moto"])
def settings(request: pytest.FixtureRequest) -> Settings:
    settings: Settings = request.getfixturevalue(request.param)
    return settings


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return opened(settings)


def settings_for(endpoint: str, access_key: str, secret_key: str) -> Settings:
    return Settings(
        s3_endpoint=endpoint, s3_access_key=access_key, s3_secret_key=secret_key, s3_bucket="images"
    )


def opened(settings: Settings, **changes: object) -> ObjectStore:
    store = ObjectStore.connect(settings.model_copy(update=changes))
    store.ensure_bucket()
    return store


def test_an_object_comes_back_as_it_was_put(store: ObjectStore):
    store.put(KEY, PNG, "image/png")

    assert store.get(KEY) == StoredObject(PNG, "image/png")


def test_a_second_put_replaces_the_first(store: ObjectStore):
    store.put(KEY, b"first", "text/plain")
    store.put(KEY, PNG, "image/png")

    assert store.get(KEY) == StoredObject(PNG, "image/png")


def test_an_object_that_is_not_there_is_a_missing_file(store: ObjectStore):
    with pytest.raises(FileNotFoundError, match="generations/none"):
        store.get("generations/none.png")


def test_an_object_that_breaks_off_is_an_error_of_the_store():
    modified = "Wed, 21 Oct 2026 07:28:00 GMT"
    headers = {"Content-Length": "100", "Content-Type": "image/png", "Last-Modified": modified}
    with servers.http_server(lambda _: servers.Reply(200, PNG[:50], headers)) as half:
        store = ObjectStore.connect(settings_for(half.url, "access", "secret"))
        with pytest.raises(STORE_ERRORS):
            store.get(KEY)


def test_a_missing_bucket_is_not_a_missing_file(settings: Settings):
    store = ObjectStore.connect(settings.model_copy(update={"s3_bucket": "nowhere"}))

    with pytest.raises(ClientError, match="NoSuchBucket"):
        store.get(KEY)
    with pytest.raises(ClientError):
        store.ping()


def test_deleted_objects_are_gone_and_deleting_them_again_is_no_error(store: ObjectStore):
    keys = [input_key(), input_key()]
    for key in keys:
        store.put(key, PNG, "image/png")
    assert all(store.get(key) for key in keys)

    store.delete(keys)
    store.delete(keys)
    store.delete([])

    for key in keys:
        with pytest.raises(FileNotFoundError):
            store.get(key)


def test_the_bucket_can_be_ensured_by_several_processes_at_once(settings: Settings):
    stores = [
        ObjectStore.connect(settings.model_copy(update={"s3_bucket": "contended"}))
        for _ in range(4)
    ]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ObjectStore.ensure_bucket, stores))

    stores[0].ping()


def test_threads_share_a_store(store: ObjectStore):
    objects = {f"generations/shared-{index}.png": bytes([index]) * 1000 for index in range(16)}

    def put_and_get(key: str) -> bytes:
        store.put(key, objects[key], "image/png")
        return store.get(key).body

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(put_and_get, objects)) == list(objects.values())


def test_a_presigned_link_serves_the_image_to_anybody(settings: Settings):
    store = opened(settings, output_links="presigned")
    store.put(KEY, PNG, "image/png")

    [link] = store.links([KEY])
    answer = httpx.get(link, trust_env=False)

    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, max-age=86400"


def test_without_its_signature_a_link_serves_nothing(nanio: Settings):
    store = opened(nanio, output_links="presigned")
    store.put(KEY, PNG, "image/png")

    [link] = store.links([KEY])

    assert httpx.get(link.partition("?")[0], trust_env=False).status_code == 403


def test_a_presigned_link_stops_working_when_its_time_is_over(nanio: Settings):
    store = opened(nanio, output_links="presigned", link_lifetime=timedelta(seconds=1))
    store.put(KEY, PNG, "image/png")
    [link] = store.links([KEY])

    status, deadline = 200, time.monotonic() + 10
    while status == 200 and time.monotonic() < deadline:
        status = httpx.get(link, trust_env=False).status_code

    assert status == 403


def test_links_last_no_longer_than_signatures_can():
    settings = settings_for("http://s3.test", "access", "secret")
    changes = {"output_links": "presigned", "link_lifetime": timedelta(days=30)}

    [link] = ObjectStore.connect(settings.model_copy(update=changes)).links([KEY])

    assert f"X-Amz-Expires={7 * 24 * 3600}" in link
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in link


@pytest.mark.parametrize(
    ("changes", "link"),
    [
        ({"public_url": "https://api.test/"}, f"https://api.test/{KEY}"),
        ({"output_links": "public"}, f"http://s3.test/images/{KEY}"),
        (
            {"output_links": "public", "output_base_url": "https://cdn.test/x/"},
            f"https://cdn.test/x/{KEY}",
        ),
    ],
    ids=["proxied", "bucket", "cdn"],
)
def test_plain_links_start_where_the_operator_says(changes: dict[str, object], link: str):
    settings = settings_for("http://s3.test", "access", "secret")

    store = ObjectStore.connect(settings.model_copy(update=changes))

    assert store.links([KEY]) == [link]


def test_objects_survive_a_crash_of_the_server(tmp_path: Path):
    with servers.nanio(tmp_path) as server:
        store = opened(settings_for(server.endpoint, server.access_key, server.secret_key))
        store.put(KEY, PNG, "image/png")

        server.restart()

        assert store.get(KEY) == StoredObject(PNG, "image/png")


def test_an_object_knows_the_job_that_made_it(store: ObjectStore):
    store.put(KEY, PNG, "image/png", job_id=2**52 - 1)
    store.put(TEMP_KEY, PNG, "image/png")

    assert store.job_of(KEY) == 2**52 - 1
    assert store.job_of(TEMP_KEY) is None
    assert store.job_of("generations/none.png") is None


def test_a_temporary_output_is_over_after_a_day_whatever_the_bucket_does(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
):
    for key in (KEY, TEMP_KEY):
        store.put(key, PNG, "image/png")
    assert store.get(TEMP_KEY).body == PNG

    monkeypatch.setattr("shared.object_store.TEMPORARY", timedelta(days=-1))

    assert store.get(KEY).body == PNG
    with pytest.raises(FileNotFoundError):
        store.get(TEMP_KEY)


def test_a_link_to_a_temporary_output_works_a_day_at_most():
    changes = {"output_links": "presigned", "link_lifetime": timedelta(days=7)}
    settings = settings_for("http://s3.test", "access", "secret").model_copy(update=changes)

    usual, temporary = ObjectStore.connect(settings).links([KEY, TEMP_KEY])

    assert f"X-Amz-Expires={7 * 24 * 3600}" in usual
    assert f"X-Amz-Expires={24 * 3600}" in temporary


def test_links_to_outputs_of_any_kind_are_known_as_our_own():
    store = ObjectStore.connect(settings_for("http://s3.test", "access", "secret"))

    for name in (KEY, TEMP_KEY, KEY.replace("png", "jpeg"), TEMP_KEY.replace("png", "webp")):
        assert store.own_key(f"http://127.0.0.1:8000/{name}") == name
        assert store.own_key(f"http://s3.test/images/{name}?X-Amz-Expires=1") == name
    assert store.own_key(f"http://elsewhere.test/{KEY}") is None


def test_a_bucket_is_told_how_long_to_keep_what_and_keeps_the_rules_of_others(moto: Settings):
    name = "kept"
    settings = moto.model_copy(update={"s3_bucket": name, "keep_outputs": timedelta(hours=36)})
    store = opened(settings)
    s3 = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="access",
        aws_secret_access_key="secret",
    )
    logs = {
        "ID": "logs",
        "Filter": {"Prefix": "logs/"},
        "Status": "Enabled",
        "Expiration": {"Days": 9},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [logs]})

    def days() -> dict[str, int]:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        return {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in rules}

    assert store.expire_objects()
    usual = {"logs/": 9, "inputs/": 1, "uploads/": 1, "temp/": 1}
    assert days() == usual | {"generations/": 2}
    assert opened(settings, keep_outputs=None).expire_objects()
    assert days() == usual


def test_a_server_without_lifecycles_is_found_out(nanio: Settings):
    assert not opened(nanio).expire_objects()


def test_a_future_link_also_leads_to_what_an_attempt_made_that_drains_came_before():
    prefix = str(uuid.uuid4())
    made = f"generations/{attempt_prefix(prefix, 6)}-0.png"

    # Two attempts were charged, three workers stopped under it, and the sixth start succeeded.
    assert made in possible_keys("generations", f"{prefix}-0.png", attempts=3)


def test_a_future_link_survives_waiting_for_jobs_that_must_be_alone():
    prefix = str(uuid.uuid4())
    made = f"generations/{attempt_prefix(prefix, 13)}-0.png"

    assert made in possible_keys("generations", f"{prefix}-0.png", attempts=3)


def test_keys_of_inputs_cannot_be_guessed():
    assert input_key().startswith("inputs/")
    assert len({input_key() for _ in range(100)}) == 100
