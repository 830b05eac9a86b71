"""One run of schemathesis on a service of its own."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from infra.local import Stack
from shared.tenants import Scope

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


TENANT = "fuzz"
CUSTOMER: tuple[Scope, ...] = ("submit", "read")
OPERATOR: tuple[Scope, ...] = (*CUSTOMER, "admin")
FOR_OPERATORS = (
    r"^/(v1/admin/.*|api/v5/clear_cache|api/v[46]/.*/model_reload"
    r"|api/v1/enterprise/(clear_queue|clear_cache|load_model))$"
)
"""What only the scope admin may do, by one path of each kind; without a worker they could not."""


def fuzz(
    data: Path, options: Sequence[str], scopes: Sequence[Scope] = CUSTOMER
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis on a service of its own in the folder; what it said and how it ended.

    `scopes` are those of the key that it has.
    """
    settings = SETTINGS | _settings(data, scopes)
    with Stack(data, port=0, processes=PROCESSES, env=settings) as stack:
        # Made on first demand, which on a busy machine takes longer than schemathesis waits.
        httpx.get(f"{stack.url}/openapi.json", timeout=120).raise_for_status()
        return subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(HERE / "schemathesis.toml")),
                *("run", f"{stack.url}/openapi.json", "--no-color", *options),
            ],
            cwd=data,  # it keeps what it finds
            env=_environment(stack.key, _job(stack)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def _job(stack: Stack) -> int:
    """A job that has images, and a webhook that nobody takes."""
    asked = {"prompt": "a cat", "width": 64, "height": 64, "webhook": "http://127.0.0.1:9/hook"}
    headers = {"key": stack.key, "Prefer": "wait=30"}
    answer = httpx.post(f"{stack.url}/api/v3/text2img", headers=headers, json=asked, timeout=60)
    return int(answer.raise_for_status().json()["id"])


def _settings(data: Path, scopes: Sequence[Scope]) -> dict[str, str]:
    """For a tenant whose every request is taken, and models that a checker judges."""
    tenant = {
        "tenant": TENANT,
        "key": f"sk_{secrets.token_hex(16)}",
        "scopes": list(scopes),
        "most_live": 10**6,
    }
    keys = data / "fuzz.json"
    keys.parent.mkdir(parents=True, exist_ok=True)
    keys.write_text(json.dumps([tenant]))
    models = data / "models.yaml"
    own = (ROOT / "infra" / "models.yaml").read_text()
    models.write_text(f"safety_checker: {{source: nowhere}}\n{own}")
    return {"IMG2IMG_API_KEYS": str(keys), "IMG2IMG_MODELS_FILE": str(models)}


def _environment(key: str, job_id: int) -> Mapping[str, str]:
    return {
        **os.environ,
        "FUZZ_KEY": key,
        "FUZZ_JOB": str(job_id),
        "FUZZ_TENANT": TENANT,
        "SCHEMATHESIS_HOOKS": "infra.fuzz.hooks",
        "PYTHONPATH": str(ROOT),
    }
