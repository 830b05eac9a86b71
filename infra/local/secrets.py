"""The stack's own keys: made at the first start, kept beside its data for the owner's eyes."""

import json
import os
import secrets
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.webhooks import new_secret


@dataclass(frozen=True)
class Secrets:
    """What one stack's processes and callers prove themselves with."""

    keys_file: Path
    key: str
    webhook_secret: str
    s3_access_key: str
    s3_secret_key: str
    redis_password: str


def keep_secrets(data: Path) -> Secrets:
    """The secrets of a data folder; a restart finds the ones of the first start."""
    keys_file = data / "keys.json"
    (tenant, *_) = _keep(keys_file, _new_tenants)
    s3 = _keep(data / "s3-keys.json", _new_s3_keys)
    redis = _keep(data / "redis-password.json", lambda: secrets.token_hex(20))
    return Secrets(
        keys_file=keys_file,
        key=tenant["key"],
        webhook_secret=tenant["webhook_secret"],
        s3_access_key=s3["access_key"],
        s3_secret_key=s3["secret_key"],
        redis_password=redis,
    )


def first_key(api_keys: str) -> str:
    """A key out of `IMG2IMG_API_KEYS`; empty when none is there in the clear."""
    if "=" in api_keys:
        return api_keys.split(",", maxsplit=1)[0].partition("=")[2].strip()
    entries = json.loads(Path(api_keys).read_text())
    return next((entry["key"] for entry in entries if "key" in entry), "")


def write_settings(path: Path, settings: Mapping[str, str]) -> None:
    """What the stack's processes run with, for the owner's shell: `set -a; . settings.env`."""
    lines = (f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    _write(path, "".join(lines))


def _keep(path: Path, make: Callable[[], Any]) -> Any:
    if not path.exists():
        _write(path, json.dumps(make(), indent=2))
    return json.loads(path.read_text())


def _write(path: Path, text: str) -> None:
    # Complete under another name first: a kill in between must not leave half a file.
    half = path.with_suffix(".new")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    half.rename(path)


def _new_tenants() -> list[dict[str, Any]]:
    key = "sk_local_" + secrets.token_urlsafe(24)
    scopes = ["submit", "read", "admin"]
    return [{"tenant": "local", "key": key, "scopes": scopes, "webhook_secret": new_secret()}]


def _new_s3_keys() -> dict[str, str]:
    return {"access_key": secrets.token_hex(10), "secret_key": secrets.token_urlsafe(30)}
