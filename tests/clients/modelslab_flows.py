"""What client `modelslab` makes pictures with: `BASE_URL KEY PHOTO MASK`, the images as base64.

Prints a JSON object: flow -> [first answer, last answer].
"""

import json
import sys
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from modelslab import (  # type: ignore[import-not-found]
    CommunityModels,
    EPRealtime,
    EPTxt2Img,
    ImageEditing,
)

PUBLISHED = "https://modelslab.com"
base_url, key, photo, mask = sys.argv[1:]


def redirected(room: Any) -> Any:
    """The room with its paths as they are, on our host."""
    for name in ("base_url", "route"):
        if hasattr(room, name):
            setattr(room, name, getattr(room, name).replace(PUBLISHED, base_url))
    return room


def flow(make: Callable[..., str], fetch: Callable[..., str]) -> list[Any]:
    first = last = json.loads(make(**{name: FIELDS[name] for name in signature(make).parameters}))
    while last["status"] == "processing":
        time.sleep(0.1)
        last = json.loads(fetch(key, first["id"]))
    return [first, last]


community, realtime, enterprise, editing = (
    redirected(room()) for room in (CommunityModels, EPRealtime, EPTxt2Img, ImageEditing)
)
FIELDS: dict[str, Any] = {
    "key": key, "model_id": "demo", "prompt": "a red circle", "negative_prompt": None,
    "init_image": Path(photo).read_text(), "mask_image": Path(mask).read_text(),
    "width": "64", "height": 64,
    "samples": "1", "num_inference_steps": "20", "steps": 20, "strength": 0.7,
    "guidance_scale": 5, "scheduler": "UniPCMultistepScheduler", "seed": None,
    "safety_checker": "no", "enhance_prompt": "no", "lora_model": None, "lora_strength": None,
    "embeddings_model": None, "vae": None, "clip_skip": "1", "tomesd": "yes",
    "use_karras_sigmas": "yes", "multi_lingual": "no", "panorama": "no", "self_attention": "no",
    "upscale": "no", "base64": False, "temp": False, "webhook": None, "track_id": None,
}  # fmt: skip
FLOWS = {
    "community text2img": flow(community.txt2img, community.fetch_queued),
    "community img2img": flow(community.img2img, community.fetch_queued),
    "community inpaint": flow(community.inpaint, community.fetch_queued),
    "editing inpaint": flow(editing.inpaint, editing.fetch),
    "enterprise inpaint": flow(enterprise.inpaint, enterprise.fetch_queued),
    "enterprise realtime text2img": flow(realtime.text2img, realtime.fetch_queued),
    "enterprise realtime img2img": flow(realtime.img2img, realtime.fetch_queued),
    "enterprise realtime inpaint": flow(realtime.inpaint, realtime.fetch_queued),
}
json.dump(FLOWS, sys.stdout)
