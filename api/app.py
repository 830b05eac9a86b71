"""Wires the front door: the only place where its parts are chosen."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from api import refusals
from api.auth import Failures
from api.config import ApiSettings
from api.dependencies import ByField, ByHeader
from api.direct import Shortcut
from api.door import Door
from api.edge import Edge
from api.enhance import read_styles
from api.fields import Room
from api.openapi.document import document, schema_route
from api.routes import (
    absent,
    checks,
    deletions,
    health,
    images,
    jobs,
    models,
    operations,
    uploads,
    v1,
)
from api.waiting import Waiting
from shared.add_ons import AddOns
from shared.egress import Guard
from shared.keyring import Keyring
from shared.ledger.connect import connect_for_requests
from shared.ledger.deliveries import Deliveries
from shared.ledger.events import end, finished
from shared.ledger.orders import Orders
from shared.ledger.pauses import Pauses
from shared.ledger.submissions import Submissions
from shared.log import set_up_logging
from shared.models import ModelCard, Registry
from shared.object_store import ObjectStore
from shared.tenants import Tenants

log = logging.getLogger(__name__)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: ApiSettings = app.state.settings
    redis = connect_for_requests(settings.redis_url)
    store = ObjectStore.connect(settings, read_seconds=5)
    await asyncio.to_thread(store.ensure_bucket)
    if not await asyncio.to_thread(store.expire_objects):
        log.warning("the bucket takes no lifecycle rules: no object in it is removed by its age")
    app.state.redis = redis
    app.state.tenants = Tenants.read(settings)
    app.state.keyring = Keyring(redis, settings.key_pepper)
    app.state.failures = Failures(settings.most_wrong_keys)
    registry = Registry.read(settings.models_file, models_dir=settings.models_dir)
    app.state.door = door = Door(
        settings=settings,
        registry=registry,
        model=_default_model(settings, registry),
        add_ons=AddOns.read(settings.models_file, models_dir=settings.models_dir),
        styles=read_styles(settings.styles_file),
        submissions=Submissions(redis, settings),
        deliveries=Deliveries(redis, settings),
        orders=Orders(redis),
        pauses=Pauses(redis, settings),
        waiting=Waiting(),
        store=store,
        guard=Guard.from_settings(settings),
    )
    listening = asyncio.create_task(door.waiting.listen(finished(redis)))
    listening.add_done_callback(_stop_unless_cancelled)
    yield
    await end([listening])
    await door.submissions.close()
    await redis.aclose()


def _default_model(settings: ApiSettings, registry: Registry) -> ModelCard:
    if (card := registry.get(settings.default_model)) is None:
        raise ValueError(f"{settings.models_file} has no {settings.default_model}, the default")
    return card


def _stop_unless_cancelled(listening: asyncio.Task[None]) -> None:
    if not listening.cancelled():
        # Nobody would wake the callers any more: a supervisor starts a door that works.
        log.critical("listening ended", exc_info=listening.exception())
        signal.raise_signal(signal.SIGTERM)


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """The front door, for `uvicorn --factory api.app:create_app`."""
    settings = settings or ApiSettings.load()
    set_up_logging(settings.log_level)
    app: FastAPI = FastAPIOffline(
        title="img2img",
        description="The public Stable Diffusion image-to-image API, on GPUs you own.",
        version="0.1.0",
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    # Bodies of callers whose key is not known yet are in the lobby: they cannot fill the room.
    app.state.lobby = Room(settings.body_memory // 4)
    app.state.room = Room(settings.body_memory - settings.body_memory // 4)
    refusals.install(app, settings)  # first, so that its answers have the headers of the rest
    if settings.cors_origins:
        # Without credentials: a key is in the request itself, no cookie speaks for anyone.
        origins = [origin.strip() for origin in settings.cors_origins.split(",")]
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Location", "Retry-After", "X-Request-Id"],
        )
    app.add_middleware(Edge)
    every = (images, checks, jobs, deletions, uploads, models, operations, health, absent, v1)
    for routes in every:
        app.include_router(routes.router)
    by_field = ("", images.router, ByField("submit").direct)
    by_header = (v1.router.prefix, v1.images.router, ByHeader("submit").direct)
    app.router.routes.insert(0, Shortcut((by_field, by_header)))
    app.openapi = cache(partial(document, app, settings))  # type: ignore[method-assign]
    app.router.routes.insert(1, schema_route(app))
    return app
