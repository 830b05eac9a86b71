"""The embedded stack as a value: start it, use its address and key, stop it."""

import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from infra.demo_model.build import build
from infra.local.child import Child
from infra.local.claim import claim
from infra.local.keeper import Keeper
from infra.local.ports import choose_port, free_port
from infra.local.secrets import first_key, keep_secrets, write_settings
from infra.local.services import ALL, SERVERS, Place, as_redis_user, services
from shared.config import Duration

PREFIX = "IMG2IMG_"


class Stack:
    """All processes of the service on one data folder, which it claims when it is made.

    `port` None takes 8000 or, if that is taken, a free one; 0 takes a free one. `env` holds
    `IMG2IMG_*` settings that win over the stack's own; where they name another Redis or S3, the
    embedded one is not started. `processes` names what to start: `worker-2` is one more worker.
    """

    def __init__(
        self,
        data: Path | str,
        *,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        processes: tuple[str, ...] = ALL,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        api_port = choose_port(port, say)
        given = dict(env or {})
        self.data = Path(data).resolve()
        (self.data / "logs").mkdir(parents=True, exist_ok=True)
        self._claim = claim(self.data)
        self._say = say
        self._ended = threading.Event()
        self._place = Place(
            data=self.data,
            api_port=api_port,
            redis_port=free_port(),
            s3_port=free_port(),
            secrets=keep_secrets(self.data),
            drain=TypeAdapter(Duration).validate_python(given.get("IMG2IMG_DRAIN", "10")),
        )
        self.settings_env = self._place.settings() | given
        """Every `IMG2IMG_*` setting that its processes run with."""
        provided = {
            "redis": "IMG2IMG_REDIS_URL" in given,
            "s3": "IMG2IMG_S3_ENDPOINT" in given,
        }
        self._names = [name for name in processes if not provided.get(name)]
        made = services(self._names, self._place)
        if not provided["redis"]:
            made = (as_redis_user(service, self._place) for service in made)
        self._keeper = Keeper(made, logs=self.data / "logs", env=self._env(), say=say)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The API's address."""
        return self._place.url

    @property
    def key(self) -> str:
        """An API key that works here; empty when only its hash is known."""
        return first_key(self.settings_env["IMG2IMG_API_KEYS"])

    @property
    def webhook_secret(self) -> str:
        """What signs the webhooks of the stack's own tenant."""
        return self._place.secrets.webhook_secret

    @property
    def redis_url(self) -> str:
        """The Redis its processes use, as one who may do everything."""
        return self.settings_env["IMG2IMG_REDIS_URL"]

    @property
    def processes(self) -> Mapping[str, Child]:
        """The children by name: `.pid`, `.log`, `.starts`, `.is_ready`, `.last_exit`."""
        return self._keeper.children

    def start(self) -> None:
        """Return when everything is ready; on failure nothing is left running."""
        try:
            write_settings(self.data / "settings.env", self.settings_env)
            self._keeper.start()
            self._keeper.bring_up([name for name in self._names if name in SERVERS])
            if any(name.startswith("worker") for name in self._names):
                build(Path(self.settings_env["IMG2IMG_MODELS_DIR"]) / "demo")
            self._keeper.bring_up([name for name in self._names if name not in SERVERS])
            self._keeper.revive_the_dead()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, in reverse order; harmless when nothing runs."""
        if not self._ended.is_set():
            self._say("stopping")
        self._keeper.stop()
        self._claim.close()
        self._ended.set()

    def wait(self) -> None:
        """Return when the stack has been stopped."""
        self._ended.wait()

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Signal a process; the stack starts it again when it dies of it."""
        self.processes[name].send(number)

    def await_ready(self, *names: str) -> None:
        """Return when these are ready (again)."""
        self._keeper.await_ready(names)

    def stop_process(self, name: str) -> None:
        """Stop one process and leave it stopped."""
        self._keeper.stop_one(name)

    def start_process(self, name: str) -> None:
        """Start one that was stopped."""
        self._keeper.bring_up([name])

    def _env(self) -> dict[str, str]:
        # Settings come from `env` alone, so that a developer's shell cannot change a test.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        return inherited | {"PYTHONUNBUFFERED": "1"} | self.settings_env
