"""Wires the front door: the only place where its parts are chosen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from api import errors
from api.config import ApiSettings
from api.door import Door
from api.routes import health, images, jobs
from api.waiting import Waiting
from shared.egress import Guard
from shared.ledger.connect import connect_for_requests
from shared.ledger.events import end, finished
from shared.ledger.submissions import Submissions
from shared.log import set_up_logging
from shared.models import Registry
from shared.object_store import ObjectStore
from shared.tenants import Tenants


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: ApiSettings = app.state.settings
    redis = connect_for_requests(settings.redis_url)
    store = ObjectStore.connect(settings)
    await asyncio.to_thread(store.ensure_bucket)
    app.state.redis, app.state.store = redis, store
    app.state.tenants = Tenants.read(settings)
    app.state.door = door = Door(
        settings=settings,
        registry=Registry.read(settings.models_file, models_dir=settings.models_dir),
        submissions=Submissions(redis, settings),
        waiting=Waiting(),
        store=store,
        guard=Guard.from_settings(settings),
    )
    listening = asyncio.create_task(door.waiting.listen(finished(redis)))
    yield
    await end([listening])
    await redis.aclose()


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """The front door, for `uvicorn --factory api.app:create_app`."""
    settings = settings or ApiSettings()
    set_up_logging(settings.log_level)
    app: FastAPI = FastAPIOffline(
        title="img2img",
        description="The public Stable Diffusion image-to-image API, on GPUs you own.",
        version="0.1.0",
        redoc_url=None,
        lifespan=_lifespan,
        max_body_size=settings.max_body,
    )
    app.state.settings = settings
    errors.install(app, errors_as_200=settings.errors_as_200)
    for routes in (images, jobs, health):
        app.include_router(routes.router)
    return app
