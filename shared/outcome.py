"""What a job came to, as the public API words it: for answers, fetches and webhooks alike."""

from collections.abc import Callable, Iterable
from typing import Any

from shared.jobs import JobRecord, JobState, LoraUse
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
        "degraded": list(result.degraded) if result else [],
        "determinism": params.determinism,
        "H": result.height if result else params.height,
        "W": result.width if result else params.width,
        "embeddings": ",".join(params.embeddings) or None,
        "file_prefix": result.file_prefix if result else job.file_prefix,
        "guidance_scale": params.guidance_scale,
        "init_image": _shown(params.init_image),
        "lora": ",".join(use.name for use in params.loras) or None,
        "lora_strength": _strengths(params.loras),
        "mask_image": _shown(params.mask_image),
        "model": params.model_id,
        "model_id": params.model_id,
        "n_samples": params.samples,
        "negative_prompt": params.negative_prompt,
        "outdir": "out",
        "prompt": (result and result.prompt) or params.prompt,
        "nsfw_content_detected": list(result.unsafe) if result and result.unsafe else None,
        "safety_checker": _checker(record),
        "safetychecker": _checker(record),
        "safety_checker_type": params.safety_checker_type if result and result.unsafe else None,
        "scheduler": scheduler,
        "seed": params.seeds[0],
        "seeds": list(params.seeds),
        "steps": params.steps,
        "strength": params.strength,
        "use_karras_sigmas": _yes_no(options.get(KARRAS)),
        "base64": _yes_no(params.base64),
        "output_format": params.output_format,
        "quality": params.quality,
        "temp": _yes_no(params.temp),
        "vae": params.vae,
    }


def _checker(record: JobRecord) -> str:
    if record.result and record.result.unsafe:
        return "yes"
    return "none" if record.job.params.safety_checker else "no"


def _yes_no(value: object) -> str | None:
    return None if value is None else "yes" if value else "no"


def _strengths(loras: tuple[LoraUse, ...]) -> float | str:
    """As the public API types them: a number for one, text for several."""
    if len(loras) > 1:
        return ",".join(f"{use.strength:g}" for use in loras)
    return loras[0].strength if loras else 1


def _shown(image: str | None) -> str | None:
    # An uploaded image has no address that the caller knows.
    return None if image is None or image.startswith("inputs/") else image


def outcome(record: JobRecord, links: Links) -> dict[str, Any]:
    """The body of a final job; raises ValueError for one that is not."""
    job_id = record.job.id
    match record.state:
        case JobState.SUCCEEDED if record.job.params.task == "check":
            assert record.result is not None
            return {
                "status": "success",
                "id": job_id,
                "request_id": str(job_id),
                "images": _shown(record.job.params.init_image),
                "has_nsfw_concept": list(record.result.unsafe),
            }
        case JobState.SUCCEEDED if not record.outputs:
            return _failed(job_id, "The images of this request were deleted")
        case JobState.SUCCEEDED:
            assert record.result is not None
            outputs = links(record.outputs)
            return {
                "status": "success",
                "generationTime": record.result.seconds,
                "id": job_id,
                "request_id": str(job_id),
                "output": outputs,
                "proxy_links": outputs,
                # One boolean, as clients know it: a list would be true whatever it holds.
                "nsfw_content_detected": any(record.result.unsafe),
                "webhook_status": record.webhook_status,
                "meta": meta(record),
            }
        case JobState.FAILED | JobState.CANCELLED:
            assert record.failure is not None
            return _failed(job_id, record.failure.message)
        case state:
            raise ValueError(f"job {job_id} is {state}")


def _failed(job_id: int, message: str) -> dict[str, Any]:
    return {
        "status": "failed",
        "id": job_id,
        "request_id": str(job_id),
        "message": message,
        "messege": message,
        "output": [],
    }
