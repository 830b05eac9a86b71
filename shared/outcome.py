"""What a job came to, as the public API words it: for answers, fetches and webhooks alike."""

from collections.abc import Callable, Iterable
from typing import Any

from shared.jobs import JobRecord, JobState
from shared.schedulers import ALGORITHM, KARRAS

Links = Callable[[Iterable[str]], list[str]]
"""Object keys to links that a client can open."""


def meta(record: JobRecord) -> dict[str, Any]:
    """The parameters that were really used, under the public API's names."""
    job, params, result = record.job, record.job.params, record.result
    scheduler = result.scheduler if result else params.scheduler
    # They say nothing of another scheduler that ran instead.
    options = params.scheduler_options if scheduler == params.scheduler else {}
    return {
        **job.echo,
        "algorithm_type": options.get(ALGORITHM),
        "clip_skip": params.clip_skip,
        "H": result.height if result else params.height,
        "W": result.width if result else params.width,
        "file_prefix": result.file_prefix if result else job.file_prefix,
        "guidance_scale": params.guidance_scale,
        "init_image": _shown(params.init_image),
        "mask_image": _shown(params.mask_image),
        "model": params.model_id,
        "model_id": params.model_id,
        "n_samples": params.samples,
        "negative_prompt": params.negative_prompt,
        "outdir": "out",
        "prompt": params.prompt,
        "safety_checker": "none",
        "safetychecker": "none",
        "scheduler": scheduler,
        "seed": params.seeds[0],
        "seeds": list(params.seeds),
        "steps": params.steps,
        "strength": params.strength,
        "use_karras_sigmas": _yes_no(options.get(KARRAS)),
        "base64": _yes_no(params.base64),
    }


def _yes_no(value: object) -> str | None:
    return None if value is None else "yes" if value else "no"


def _shown(image: str | None) -> str | None:
    # An uploaded image has no address that the caller knows.
    return None if image is None or image.startswith("inputs/") else image


def outcome(record: JobRecord, links: Links) -> dict[str, Any]:
    """The body of a final job; raises ValueError for one that is not."""
    job_id = record.job.id
    match record.state:
        case JobState.SUCCEEDED:
            assert record.result is not None
            return {
                "status": "success",
                "generationTime": record.result.seconds,
                "id": job_id,
                "output": links(record.result.keys),
                "meta": meta(record),
            }
        case JobState.FAILED:
            assert record.failure is not None
            message = record.failure.message
            return {
                "status": "failed",
                "id": job_id,
                "message": message,
                "messege": message,
                "output": [],
            }
        case state:
            raise ValueError(f"job {job_id} is {state}")
