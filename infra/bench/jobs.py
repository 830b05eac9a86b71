"""The job that is submitted where only the ledger is measured."""

import uuid

from shared.jobs import Job, Params, new_job_id
from shared.ledger.receipts import Submission

POOL = "default"
UNLIMITED = 10**9
PARAMS = Params(
    model_id="demo",
    prompt="an astronaut in front of the stars, oil painting",
    negative_prompt="blurry, low quality",
    init_image="https://example.com/photo.png",
    steps=30,
    strength=0.7,
    guidance_scale=7.5,
    scheduler="DDIMScheduler",
    seeds=(42,),
)


def submission(tenant: str, *, params: Params = PARAMS, webhook: str | None = None) -> Submission:
    """A new job with an idempotency key of its own, and no limit in its way."""
    once = str(uuid.uuid4())
    job = Job(
        id=new_job_id(),
        file_prefix=once,
        tenant=tenant,
        pool=POOL,
        dialect="v3",
        params=params,
        webhook=webhook,
    )
    return Submission(
        job,
        weight=1,
        most_live=UNLIMITED,
        most_waiting=UNLIMITED,
        idempotency_key=once,
        digest=once,
    )
