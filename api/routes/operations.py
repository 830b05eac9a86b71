"""What operators do while the service runs: the queue, the workers, their models and caches."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter

from api.dependencies import Admin, Fields, FrontDoor, Submitter
from api.dialects import ENTERPRISE
from api.door import Door
from api.errors import Unavailable
from api.routes.models import named_model
from shared.ledger.orders import LiveWorker, What

router = APIRouter(tags=["operations"])

PATIENCE = 5.0
"""Seconds for workers to answer; they look for orders once a second."""


async def clear_queue(tenant: Submitter, door: FrontDoor) -> dict[str, Any]:
    """Cancel the jobs that wait: the caller's own, or with the scope `admin` everybody's.

    Running ones go on; webhooks of the cancelled say `failed`.
    """
    whose = None if "admin" in tenant.scopes else tenant.tenant
    ended = await door.submissions.cancel_waiting(whose)
    return _done("Queue cleared", cancelled=ended)


async def restart_server(_: Admin, door: FrontDoor) -> dict[str, Any]:
    """Have every worker finish what it runs, or hand it back, and end; supervisors start it anew.

    Jobs wait meanwhile. Needs the scope `admin`.
    """
    workers = await door.orders.workers()
    silent = await _order(door, "drain", workers)
    heard = len(workers) - len(silent)
    return _done("Server restart started", workers=heard, silent=silent)


async def clear_cache(_: Admin, door: FrontDoor) -> dict[str, Any]:
    """Have every worker forget what it keeps of prompts and images. Needs the scope `admin`."""
    silent = await _order(door, "forget", await door.orders.workers())
    return _done("Cache cleared", silent=silent)


async def load_model(fields: Fields, _: Admin, door: FrontDoor) -> dict[str, Any]:
    """Have the workers of a model's pool load it, in place of what was used least if need be.

    Only `model_id` is read, and it must be a model of this deployment: nothing is fetched. Needs
    the scope `admin`. `system_details` lists what is loaded.
    """
    card = named_model(fields, door)
    workers = [one for one in await door.orders.workers() if card.pool in one.pools]
    silent = await _order(door, "load", workers, model_id=card.model_id)
    return _done("model load started", silent=silent)


async def _order(
    door: Door, what: What, workers: list[LiveWorker], *, model_id: str = ""
) -> list[str]:
    """Have it done; the workers that gave no answer. Raises Unavailable when none did."""
    if not workers:
        raise Unavailable
    silent = await door.orders.give(what, workers, model_id=model_id, patience=PATIENCE)
    if len(silent) == len(workers):
        raise Unavailable
    return silent


def _done(message: str, **more: Any) -> dict[str, Any]:
    return {"status": "success", "message": message, "messege": message, **more}


Operation = Callable[..., Awaitable[dict[str, Any]]]
NAMES: dict[str, Operation] = {
    "clear_queue": clear_queue,
    "restart_server": restart_server,
    "clear_cache": clear_cache,
    "load_model": load_model,
    "load_model_v2": load_model,
}
OPERATIONS: dict[str, Operation] = {
    "/api/v4/dreambooth/model_reload": load_model,
    "/api/v6/images/model_reload": load_model,
    "/api/v5/clear_cache": clear_cache,
    **{f"{prefix}/{name}": NAMES[name] for prefix in ENTERPRISE for name in NAMES},
}
"""By path."""
for _path, _operation in OPERATIONS.items():
    router.add_api_route(_path, _operation, methods=["POST"])
