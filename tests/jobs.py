"""Jobs for tests."""

import uuid

from shared.jobs import Failure, Job, Params, Result, new_job_id

RESULT = Result(
    keys=("generations/x-0.png",),
    file_prefix="x",
    width=64,
    height=64,
    scheduler="DDIMScheduler",
    seconds=1.5,
)
FAILURE = Failure(code="internal_error", message="Failed, Try Again")


def make_job(**changes) -> Job:
    """A small valid job."""
    params = Params(
        model_id="demo",
        prompt="a red circle",
        init_image="inputs/abc",
        steps=8,
        strength=0.5,
        guidance_scale=7.5,
        scheduler="DDIMScheduler",
        seeds=(1,),
    )
    defaults = {
        "id": new_job_id(),
        "file_prefix": str(uuid.uuid4()),
        "tenant": "alice",
        "pool": "default",
        "dialect": "v3",
        "params": params,
    }
    return Job(**(defaults | changes))
