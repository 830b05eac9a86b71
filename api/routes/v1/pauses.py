"""Hold the queue back and let it go on, for whoever runs the deployment."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.dependencies import FrontDoor, HeaderAdmin
from api.door import Door
from api.errors import InvalidFields
from api.routes.v1.examples import answers

router = APIRouter(prefix="/admin", tags=["admin"])

Pool = Annotated[str | None, Query(description="One pool; absent: all")]


def _pools(door: Door, pool: str | None) -> list[str]:
    known = sorted(door.registry.pools)
    if pool is None:
        return known
    if pool not in known:
        raise InvalidFields.of("pool", f"must be one of {', '.join(known)}, got {pool[:40]!a}")
    return [pool]


@router.post("/pause", responses=answers("invalid_field", s200={"paused": ["default"]}))
async def pause_queue(_: HeaderAdmin, door: FrontDoor, pool: Pool = None) -> dict[str, Any]:
    """Hand no more jobs to workers, until `resume`. Jobs are accepted and wait.

    What runs, or is on its way to a worker, goes on. Answers the pools that were named.
    """
    pools = _pools(door, pool)
    await door.pauses.pause(pools)
    return {"paused": pools}


@router.post("/resume", responses=answers("invalid_field", s200={"resumed": ["default"]}))
async def resume_queue(_: HeaderAdmin, door: FrontDoor, pool: Pool = None) -> dict[str, Any]:
    """Hand jobs to workers again, at once. Answers the pools that were named."""
    pools = _pools(door, pool)
    await door.pauses.resume(pools)
    return {"resumed": pools}
