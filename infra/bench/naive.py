"""What one would write first: FastAPI, pydantic, and a Celery call for each request."""

import os

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel, Field

QUEUE = "naive"


class Request(BaseModel):
    """Some of the fields that ours takes."""

    prompt: str = Field(max_length=2000)
    negative_prompt: str = ""
    init_image: str
    width: int = Field(512, ge=64, le=1024)
    height: int = Field(512, ge=64, le=1024)
    samples: int = Field(1, ge=1, le=4)
    num_inference_steps: int = Field(20, ge=1, le=51)
    strength: float = Field(0.7, ge=0, le=1)
    guidance_scale: float = Field(7.5, ge=1, le=20)
    scheduler: str = "DDIMScheduler"
    seed: int | None = None


def generate(request: dict[str, object]) -> None:
    """A task that never runs: nobody consumes its queue."""


def create_app() -> FastAPI:
    """No key, no idempotency, no record: one message."""
    app = FastAPI()
    celery = Celery(broker=os.environ["IMG2IMG_REDIS_URL"], set_as_current=False)
    task = celery.task(generate, ignore_result=True)

    @app.get("/readyz")
    def ready() -> None:
        """It is."""

    @app.post("/img2img", status_code=202)
    def img2img(request: Request) -> dict[str, str]:
        return {"id": task.apply_async((request.model_dump(),), queue=QUEUE).id}

    return app
