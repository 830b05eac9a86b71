"""What the public API has and this server does not: each says so by name, nothing pretends."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter

from api.dependencies import Submitter
from api.dialects import ENTERPRISE
from api.errors import NotHere

router = APIRouter(tags=["not on this server"])

NO_ENGINE = "it has no engine for it"
BY_OPERATOR = "the models file, storage and updates are the operator's, by settings and commands"

ABSENT = {
    "/api/v3/super_resolution": NO_ENGINE,
    "/api/v5/controlnet": NO_ENGINE,
    "/api/v6/images/controlnet": NO_ENGINE,
    "/api/v6/image_editing/super_resolution": NO_ENGINE,
    **{
        f"{prefix}/{name}": reason
        for prefix in ENTERPRISE
        for reason, names in {
            NO_ENGINE: ("super_resolution", "controlnet"),
            BY_OPERATOR: (
                "load_vae",
                "delete_model",
                "sync_models",
                "update_s3",
                "reset_s3",
                "update",
                "update_server",
            ),
        }.items()
        for name in names
    },
}
"""Paths, and why each is not here."""


def _refuses(what: str, reason: str) -> Callable[..., Awaitable[Any]]:
    async def refuse(_: Submitter) -> None:
        raise NotHere(what, reason)

    return refuse


for _path, _reason in ABSENT.items():
    _what = _path.rpartition("/")[2]
    router.add_api_route(
        _path,
        _refuses(_what, _reason),
        methods=["POST"],
        name=f"{_what} (absent)",
        include_in_schema=False,
    )
