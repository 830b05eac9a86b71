"""Our own API, for new clients: strict, and with HTTP's own codes."""

from fastapi import APIRouter

from api.routes.v1 import admin, images, jobs, pauses, service, webhooks

router = APIRouter(prefix="/v1", tags=["v1"])
for _routes in (images, jobs, webhooks, service, admin, pauses):
    router.include_router(_routes.router)
