"""What this deployment runs, as each version asks for it."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from api.dependencies import Fields, FrontDoor, Reader
from api.dialects import ENTERPRISE
from api.door import Door
from api.errors import REQUIRED, InvalidFields
from shared.models import ModelCard
from shared.schedulers import SCHEDULERS

router = APIRouter(tags=["models"])


async def model_list(_: Reader, door: FrontDoor) -> list[dict[str, Any]]:
    """Every model, as a bare list."""
    return [_shown(card) for card in door.registry]


async def get_all_models(_: Reader, door: FrontDoor) -> dict[str, Any]:
    """Every model."""
    return {"status": "success", "models": [_shown(card) for card in door.registry]}


async def verify_model(fields: Fields, _: Reader, door: FrontDoor) -> dict[str, Any]:
    """Whether a model can be asked for."""
    card = named_model(fields, door)
    return {"status": "success", "message": "Model is ready to use", **_shown(card)}


async def schedulers_list(_: Reader) -> dict[str, Any]:
    """The schedulers that run; see the documentation for the names that stand for others."""
    return {"status": "success", "schedulers": list(SCHEDULERS)}


async def system_details(_: Reader, door: FrontDoor) -> dict[str, Any]:
    """What waits, who works on it, and which models are in memory, for every pool."""
    workers = await door.orders.workers()
    loads = {pool: await door.submissions.load(pool) for pool in sorted(door.registry.pools)}
    pools = {
        pool: {
            "queue_num": load.waiting,
            "slots": load.slots,
            "seconds_per_job": load.seconds,
            "paused": load.is_paused,
            "loaded": sorted(set().union(*(one.models for one in workers if pool in one.pools))),
        }
        for pool, load in loads.items()
    }
    return {"status": "success", "message": "Operation completed successfully", "pools": pools}


def named_model(fields: Mapping[str, Any], door: Door) -> ModelCard:
    """The model that `model_id` names; raises InvalidFields without one, and UnknownModel."""
    if "model_id" not in fields:
        raise InvalidFields.of("model_id", REQUIRED)
    return door.card(fields["model_id"])


def _shown(card: ModelCard) -> dict[str, Any]:
    limits = card.limits.model_dump()
    return {"model_id": card.model_id, "family": card.family, "licence": card.licence, **limits}


for _method in ("POST", "GET"):
    for _path in ("/api/v3/dreambooth/model_list", "/api/v4/dreambooth/model_list"):
        router.add_api_route(_path, model_list, methods=[_method])
    for _prefix in ENTERPRISE:
        for _handler in (get_all_models, verify_model, schedulers_list, system_details):
            router.add_api_route(f"{_prefix}/{_handler.__name__}", _handler, methods=[_method])
