"""Our own API, for new clients: strict, and with HTTP's own codes."""

from fastapi import APIRouter

from api.routes.v1 import admin, images, jobs, service, webhooks

router = APIRouter(prefix="/v1", tags=["v1"])
for _routes in (images, jobs, webhooks, service, admin):
    router.include_router(_routes.router)
