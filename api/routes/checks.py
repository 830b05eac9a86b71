"""Whether an image is safe, by the checker that pictures of a model go through."""

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request

from api.dependencies import Fields, FrontDoor, Submitter
from api.dialects import ENTERPRISE, dialect_of
from api.door import Door
from api.errors import REQUIRED, InvalidFields, NotHere
from api.routes.images import asked_wait
from api.terms import Wishes
from shared.jobs import Job, Params, new_job_id
from shared.models import ModelCard

router = APIRouter(tags=["images"])

WHAT = "nsfw_image_check"


async def nsfw_image_check(
    request: Request,
    fields: Fields,
    tenant: Submitter,
    door: FrontDoor,
    prefer: Annotated[str | None, Header()] = None,
) -> dict[str, Any]:
    """Whether `init_image` (a URL, base64, or a data URI) is unsafe: `has_nsfw_concept`.

    Waits its turn like any other job; `processing` when that takes too long.
    """
    card = await _checked_model(door)
    # Without a name for the job here: its base64 would be kept while the caller waits.
    record, place = await door.take(
        _job(_image(fields), card, tenant.tenant, dialect_of(request.url.path).name),
        fields,
        tenant,
        WHAT,
        Wishes(asked_wait(prefer)),
    )
    return door.answer(record, place)


def _image(fields: dict[str, Any]) -> str:
    if (image := fields.get("init_image")) is None:
        raise InvalidFields.of("init_image", REQUIRED)
    if not isinstance(image, str):
        raise InvalidFields.of("init_image", "must be a string")
    return image


async def _checked_model(door: Door) -> ModelCard:
    """A model with a checker: the default one if it has; raises NotHere."""
    checked = {model_id for one in await door.orders.workers() for model_id in one.checked}
    cards: list[ModelCard] = [door.model, *door.registry]
    for card in cards:
        # With a checker for all models, workers that are away will have it.
        if card.model_id in checked or door.registry.safety.source:
            return card
    raise NotHere(WHAT, "no worker of it has a safety checker")


def _job(image: str, card: ModelCard, tenant: str, dialect: str) -> Job:
    params = Params(
        task="check",
        model_id=card.model_id,
        prompt="",
        init_image=image,
        steps=1,
        strength=1,
        guidance_scale=1,
        scheduler="",
        seeds=(0,),
        safety_checker=True,
    )
    return Job(
        id=new_job_id(),
        file_prefix=str(uuid.uuid4()),
        tenant=tenant,
        pool=card.pool,
        dialect=dialect,
        params=params,
    )


for _prefix in ("/api/v3", *ENTERPRISE):
    router.add_api_route(f"{_prefix}/{WHAT}", nsfw_image_check, methods=["POST"])
