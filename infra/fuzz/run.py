"""One run of schemathesis on a service of its own."""

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
from pydantic import TypeAdapter

from infra.local import Stack

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROCESSES = ("redis", "s3", "simulated", "courier", "api")
SETTINGS = {
    "IMG2IMG_STEP_TIME": "0",
    "IMG2IMG_MOST_WRONG_KEYS": "1000000",
    "IMG2IMG_SYNC_WAIT": "0",
    "IMG2IMG_START_WITHIN": "5",
    "IMG2IMG_RETRY_DELAY": "0",
    "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
    "IMG2IMG_LOG_LEVEL": "ERROR",
}


def fuzz(data: Path, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run schemathesis on a service of its own in the folder; what it said and how it ended."""
    with Stack(data, port=0, processes=PROCESSES, env=SETTINGS | _settings(data)) as stack:
        # Made on first demand, which on a busy machine takes longer than schemathesis waits.
        httpx.get(f"{stack.url}/openapi.json", timeout=120).raise_for_status()
        return subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(HERE / "schemathesis.toml")),
                *("run", f"{stack.url}/openapi.json", "--no-color", *options),
            ],
            cwd=data,  # it keeps what it finds
            env=_environment(stack.key),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def _settings(data: Path) -> dict[str, str]:
    """For a tenant whose every request is taken, and models that a checker judges."""
    tenant = {"tenant": "fuzz", "key": f"sk_{secrets.token_hex(16)}", "most_live": 10**6}
    keys = data / "fuzz.json"
    keys.parent.mkdir(parents=True, exist_ok=True)
    keys.write_bytes(TypeAdapter(list[dict[str, str | int]]).dump_json([tenant]))
    models = data / "models.yaml"
    own = (ROOT / "infra" / "models.yaml").read_text()
    models.write_text(f"safety_checker: {{source: nowhere}}\n{own}")
    return {"IMG2IMG_API_KEYS": str(keys), "IMG2IMG_MODELS_FILE": str(models)}


def _environment(key: str) -> Mapping[str, str]:
    ours = {"FUZZ_KEY": key, "SCHEMATHESIS_HOOKS": "infra.fuzz.hooks", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **ours}
