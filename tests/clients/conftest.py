"""The whole service as its customers reach it, and the public clients as they were published."""

import base64
import hashlib
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx
import pytest
from PIL import Image

from infra.local import Stack
from shared.webhooks import new_secret
from tests.certificates import self_signed
from tests.servers import Server, free_port

SIDE = 64
PROGRAM_SECONDS = 90
BUILT_IN_NAME = "stablediffusionapi.com"
BUILT_IN_KEY = "X" * 10
"""What client `sdapi` sends as its key, whatever one does."""
MODELS = """
models:
  demo: {family: sd, source: demo, scheduler: DDIMScheduler, limits: {max_steps: 2, max_side: 768}}
"""
WHEELS = {
    "stablediffusionapi==0.0.5": "8e8af79de9deb332f7ef297bf32c1db5d7508baf2af89a4c38eac8815cd7aa18",
    "sdapi==0.0.1": "69c112e8193373eb85084562eafc70465f6e581f0cc6cf499155799dba765db3",
    "modelslab==0.2": "989959e6a2ba765138d1041c46289dd7463f67363654d92919129976d01407a7",
    "modelslab-py==0.2.3": "78c8a248fd54adeee14002db0f594c3e0acc136f3f408938f7728385960b6d96",
}
"""The public clients: pinned, since tests run what was downloaded."""


@dataclass(frozen=True)
class Door:
    """One API process of the service."""

    url: str
    port: int
    key: str
    certificate: Path

    @property
    def trust(self) -> dict[str, str]:
        """The environment in which clients trust its certificate."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
        return dict.fromkeys(names, str(self.certificate))

    def open(self, link: str) -> bytes:
        """What a link of an answer leads to."""
        trusting = ssl.create_default_context(cafile=self.certificate)
        return httpx.get(link, verify=trusting).raise_for_status().content


@pytest.fixture(scope="session")
def keys() -> list[dict[str, str]]:
    own = {"tenant": "local", "key": "sk_" + secrets.token_hex(), "webhook_secret": new_secret()}
    return [own, {"tenant": "old", "key": BUILT_IN_KEY}]


@pytest.fixture(scope="session")
def stack(tmp_path_factory, keys) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("settings")
    (folder / "models.yaml").write_text(MODELS)
    (folder / "keys.json").write_text(json.dumps(keys))
    settings = {
        "IMG2IMG_API_KEYS": str(folder / "keys.json"),
        "IMG2IMG_MODELS_FILE": str(folder / "models.yaml"),
        "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
        "IMG2IMG_DRAIN": "1",
    }
    with Stack(tmp_path_factory.mktemp("stack"), port=0, env=settings) as stack:
        yield stack


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"), BUILT_IN_NAME, "localhost")


@contextmanager
def door(stack: Stack, certificate: Path, folder: Path, *, wait: float) -> Iterator[Door]:
    """One more API process of the stack, with TLS; it waits so many seconds for a result."""
    port = free_port()
    url = f"https://localhost:{port}"
    app = ("api.app:create_app", "--factory", "--loop", "uvloop", "--http", "httptools")
    tls = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(certificate))
    server = Server(
        [sys.executable, "-m", "uvicorn", *app, *tls, "--port", str(port)],
        port=port,
        directory=folder,
        answers=lambda: listens(port),
        environment={
            **stack.settings_env,
            "IMG2IMG_PUBLIC_URL": url,
            "IMG2IMG_SYNC_WAIT": str(wait),
        },
    )
    server.start()
    try:
        yield Door(url, port, stack.key, certificate)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def patient_door(stack, certificate, tmp_path_factory) -> Iterator[Door]:
    """Answers with results."""
    with door(stack, certificate, tmp_path_factory.mktemp("patient"), wait=55) as one:
        yield one


@pytest.fixture(scope="session")
def hurried_door(stack, certificate, tmp_path_factory) -> Iterator[Door]:
    """Answers `processing`, whatever is asked of it."""
    with door(stack, certificate, tmp_path_factory.mktemp("hurried"), wait=0) as one:
        yield one


@pytest.fixture(scope="session")
def photo(tmp_path_factory) -> Path:
    """A small photograph, and beside it `mask.png`, white where it may be painted."""
    folder = tmp_path_factory.mktemp("pictures")
    with Image.open("infra/demo/astronaut.jpg") as image:
        image.resize((SIDE, SIDE)).save(folder / "photo.png")
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    mask.save(folder / "mask.png")
    return folder / "photo.png"


@pytest.fixture(scope="session")
def client(tmp_path_factory) -> Callable[[str], Path]:
    """By its pin, a client as the registry has it; skips the test that cannot have it."""

    @cache
    def client(pin: str) -> Path:
        folder = tmp_path_factory.mktemp("client")
        options = ["--no-deps", "--only-binary", ":all:", "--retries", "0", "--timeout", "10"]
        command = [sys.executable, "-m", "pip", "download", "-q", *options, "-d", str(folder), pin]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip(f"the package registry does not give {pin}")
        (wheel,) = folder.glob("*.whl")
        assert hashlib.sha256(wheel.read_bytes()).hexdigest() == WHEELS[pin]
        zipfile.ZipFile(wheel).extractall(folder)
        return folder

    return client


def run(command: Sequence[str], folder: Path, **environment: str) -> str:
    """What a customer's program prints, which runs in the folder."""
    outcome = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ["PATH"]} | environment,  # noqa: TID251 (handed on)
        capture_output=True,
        text=True,
        timeout=PROGRAM_SECONDS,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def base64_of(path: Path) -> str:
    """A file, as requests carry it."""
    return base64.b64encode(path.read_bytes()).decode()


def listens(port: int) -> bool:
    """Whether a server answers on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
