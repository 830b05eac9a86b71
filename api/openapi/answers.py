"""What each operation answers when nothing is wrong: a type and an example, by its path."""

from dataclasses import dataclass
from typing import Any

from api.openapi import bodies, v1_bodies
from api.openapi.examples import JOB, PREFIX, PUBLIC_URL
from api.routes.v1 import examples as v1

MODEL = {
    "model_id": "demo",
    "family": "sd",
    "licence": "Apache-2.0",
    "min_side": 64,
    "max_side": 768,
    "multiple": 8,
    "default_side": 128,
    "max_steps": 51,
    "max_samples": 4,
}
DONE = {"status": "success", "message": "done", "messege": "done"}
CHECKED = {
    "status": "success",
    "id": JOB.id,
    "request_id": str(JOB.id),
    "images": "https://example.com/photo.jpg",
    "has_nsfw_concept": [False],
}
LINK = f"{PUBLIC_URL}/uploads/0123456789abcdef0123456789abcdef.png"
POOL = {"queue_num": 3, "slots": 4, "seconds_per_job": 1.7, "paused": False, "loaded": ["demo"]}
V1_MODEL = {
    **{name: MODEL[name] for name in ("model_id", "family", "licence")},
    "limits": {name: side for name, side in MODEL.items() if isinstance(side, int)},
    "is_default": True,
    "has_worker": True,
    "is_paused": False,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The type of a body, and one of that type."""

    model: Any
    example: Any
    status: int = 200


PUBLIC: dict[str, Answer] = {
    "system_load": Answer(bodies.Load, {"status": "ok", "queue_num": 3, "queue_time": 12.0}),
    "request_count": Answer(
        bodies.Count, {"status": "success", "processing_count": 3, "message": "Current ..."}
    ),
    "delete_image": Answer(bodies.Deleted, DONE),
    "model_list": Answer(list[bodies.Model], [MODEL]),
    "get_all_models": Answer(bodies.Models, {"status": "success", "models": [MODEL]}),
    "verify_model": Answer(
        bodies.VerifiedModel,
        {"status": "success", "message": "Model is ready to use", **MODEL},
    ),
    "schedulers_list": Answer(
        bodies.Schedulers, {"status": "success", "schedulers": ["DDIMScheduler"]}
    ),
    "system_details": Answer(
        bodies.System, {"status": "success", "message": "...", "pools": {"default": POOL}}
    ),
    "nsfw_image_check": Answer(
        bodies.Checked | bodies.Processing | bodies.Failed | bodies.Error, CHECKED
    ),
    **dict.fromkeys(
        ("clear_queue", "restart_server", "clear_cache", "load_model", "load_model_v2"),
        Answer(bodies.Done, DONE),
    ),
    "model_reload": Answer(bodies.Done, DONE),
    **dict.fromkeys(
        ("base64_crop", "base64_to_url", "upload_image"),
        Answer(
            bodies.Uploaded,
            {
                **DONE,
                "message": "image uploaded",
                "messege": "image uploaded",
                "id": JOB.id,
                "request_id": JOB.id,
                "link": LINK,
                "output": [LINK],
            },
        ),
    ),
}
"""By the last part of a path of the public API."""

OWN: dict[tuple[str, str], Answer] = {
    ("get", "/v1/jobs"): Answer(v1_bodies.JobList, {"jobs": [v1.SUCCEEDED], "next_cursor": None}),
    ("get", "/v1/jobs/{job_id}"): Answer(v1_bodies.JobBody, v1.QUEUED),
    ("delete", "/v1/jobs/{job_id}"): Answer(
        v1_bodies.JobBody, v1.QUEUED | {"status": "cancelled", "queue": None}
    ),
    ("get", "/v1/models"): Answer(v1_bodies.V1Models, {"models": [V1_MODEL]}),
    ("post", "/v1/uploads"): Answer(
        v1_bodies.Room,
        {
            "url": LINK,
            "put": {
                "url": f"https://s3.example.com/img2img/uploads/{PREFIX}.png?...",
                "headers": {"Content-Type": "image/png", "Content-Length": "123456"},
                "expires_in": 3600,
            },
        },
        status=201,
    ),
    ("get", "/v1/webhooks"): Answer(v1_bodies.WebhookLog, v1.WEBHOOK),
    ("post", "/v1/webhooks/{job_id}/replay"): Answer(v1_bodies.WebhookLog, v1.WEBHOOK, status=202),
    ("get", "/v1/admin/tenants"): Answer(v1_bodies.Tenants, {"tenants": [v1.TERMS]}),
    ("put", "/v1/admin/tenants/{tenant}"): Answer(v1_bodies.TenantTerms, v1.TERMS),
    ("get", "/v1/admin/keys"): Answer(v1_bodies.Keys, {"keys": [v1.KEY]}),
    ("post", "/v1/admin/keys"): Answer(v1_bodies.FreshKey, v1.KEY | {"key": "sk_live_..."}, 201),
    ("delete", "/v1/admin/keys/{key_id}"): Answer(v1_bodies.Key, v1.KEY),
    ("post", "/v1/admin/pause"): Answer(v1_bodies.Paused, {"paused": ["default"]}),
    ("post", "/v1/admin/resume"): Answer(v1_bodies.Resumed, {"resumed": ["default"]}),
    ("get", "/v1/errors/{code}"): Answer(
        v1_bodies.Meaning,
        {"code": "invalid_key", "status": 401, "meaning": "No API key, or one that is nobody's."},
    ),
    ("get", "/healthz"): Answer(bodies.Health, {"status": "ok"}),
    ("get", "/readyz"): Answer(
        bodies.Readiness, {"status": "ok", "redis": True, "object_store": True}
    ),
}


def answer_of(method: str, path: str) -> Answer | None:
    """None for what this table does not know."""
    name = path.rpartition("/")[2]
    return OWN.get((method, path)) or (PUBLIC.get(name) if path.startswith("/api/") else None)
