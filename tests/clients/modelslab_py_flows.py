"""What client `modelslab-py` makes pictures with: `BASE_URL KEY PHOTO MASK`, the images as base64.

Prints a JSON object: flow -> [first answer, last answer].
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from modelslab_py.core.apis.community import Community  # type: ignore[import-not-found]
from modelslab_py.core.apis.image_editing import Image_editing  # type: ignore[import-not-found]
from modelslab_py.core.apis.realtime import Realtime  # type: ignore[import-not-found]
from modelslab_py.core.client import Client  # type: ignore[import-not-found]
from modelslab_py.schemas import community as community_schemas  # type: ignore[import-not-found]
from modelslab_py.schemas import image_editing as editing_schemas  # type: ignore[import-not-found]
from modelslab_py.schemas import realtime as realtime_schemas  # type: ignore[import-not-found]

base_url, key, photo, mask = sys.argv[1:]
FIELDS = {
    "model_id": "demo", "prompt": "a red circle", "width": 64, "height": 64, "samples": 1,
    "num_inference_steps": 20, "strength": 0.7, "seed": 7,
    "init_image": Path(photo).read_text(), "mask_image": Path(mask).read_text(),
}  # fmt: skip

client = Client(key, fetch_retry=500, fetch_timeout=0.1)
client.base_url = f"{base_url}/api/"


def flow(call: Callable[[Any], dict[str, Any]], schema: Callable[..., Any]) -> list[Any]:
    first = call(schema(**FIELDS))
    return [first, call.__self__.fetch(str(first["id"]))]  # type: ignore[attr-defined]


def flows() -> dict[str, list[Any]]:
    answers = {}
    for room in ("", "enterprise "):
        community = Community(client=client, enterprise=bool(room))
        realtime = Realtime(client=client, enterprise=bool(room))
        editing = Image_editing(client=client, enterprise=bool(room))
        answers |= {
            f"{room}text2img": flow(community.text_to_image, community_schemas.Text2Image),
            f"{room}img2img": flow(community.image_to_image, community_schemas.Image2Image),
            f"{room}inpaint": flow(community.inpainting, community_schemas.Inpainting),
            f"{room}realtime text2img": flow(
                realtime.text_to_image, realtime_schemas.RealtimeText2ImageSchema
            ),
            f"{room}realtime img2img": flow(
                realtime.image_to_image, realtime_schemas.RealtimeImage2ImageSchema
            ),
            f"{room}realtime inpaint": flow(
                realtime.inpainting, realtime_schemas.RealtimeInpaintingSchema
            ),
            f"{room}editing inpaint": flow(editing.inpainting, editing_schemas.InpaintingSchema),
        }
    return answers


with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # it prints its answers
    answers = flows()
json.dump(answers, sys.stdout)
