"""How a runner's threads come to the bytes of images at client-given addresses."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.bench.serving_load import PHOTO
from infra.demo.receiver import Receiver
from shared.config import Settings
from shared.egress import Guard
from shared.errors import BadInput
from shared.object_store import ObjectStore
from worker.gpu.inputs import fetch_with

AT_ONCE = 8


@pytest.fixture
def fetch():
    settings = Settings(
        outbound_allow="127.0.0.1", s3_access_key="a", s3_secret_key="b", s3_endpoint="http://s3"
    )
    return fetch_with(ObjectStore.connect(settings), Guard.from_settings(settings))


def test_downloads_of_many_threads_share_one(fetch):
    before = downloaders()

    with Receiver(PHOTO) as receiver, ThreadPoolExecutor(AT_ONCE) as callers:
        images = list(callers.map(lambda _: fetch(receiver.photo_url, "image"), range(AT_ONCE)))

    assert images == [PHOTO.read_bytes()] * AT_ONCE
    assert downloaders() == before


def test_a_download_that_hangs_holds_up_no_other(fetch):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Receiver(PHOTO) as receiver,
        ThreadPoolExecutor(1) as caller,
    ):
        host, port = silent.getsockname()
        hanging = caller.submit(fetch, f"http://{host}:{port}/", "image")
        connection, _ = silent.accept()

        assert fetch(receiver.photo_url, "image") == PHOTO.read_bytes()
        assert not hanging.done()
        connection.close()
        assert isinstance(hanging.exception(), BadInput)


def test_a_download_that_fails_names_the_field_and_not_the_address(fetch):
    with Receiver(PHOTO) as receiver, pytest.raises(BadInput, match="mask_image: HTTP 404") as said:
        fetch(f"{receiver.photo_url}x", "mask_image")

    assert "127.0.0.1" not in str(said.value)


def downloaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "downloads"]
