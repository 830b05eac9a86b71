"""Alive, ready, and what was counted."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.dependencies import FrontDoor

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, door: FrontDoor, response: Response) -> dict[str, Any]:
    """The systems behind the door answer; 503 when one does not, and which."""

    async def answers(check: Any) -> bool:
        try:
            await asyncio.wait_for(check, 3)
        except Exception:  # noqa: BLE001 - whatever went wrong, it is not ready
            return False
        return True

    redis, s3 = await asyncio.gather(
        answers(request.app.state.redis.ping()), answers(asyncio.to_thread(door.store.ping))
    )
    if not (redis and s3):
        response.status_code = 503
    return {"status": "ok" if redis and s3 else "unavailable", "redis": redis, "object_store": s3}


@router.get("/metrics", response_class=Response)
async def metrics() -> Response:
    """Prometheus text."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
