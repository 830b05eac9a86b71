"""How an image was made, in the words that the web UI writes into its files and reads from them."""

import json

from shared.jobs import Params
from shared.schedulers import Choice, web_ui_name


def infotext(params: Params, *, seed: int, scheduler: str, width: int, height: int) -> str:
    """Prompt, negative prompt and a line of settings; nothing of who asked, or from where.

    `scheduler` is the class that ran, `width` and `height` are pixels.
    """
    # Options say nothing of another scheduler that ran instead.
    options = params.scheduler_options if scheduler == params.scheduler else {}
    settings = {
        "Steps": params.steps,
        "Sampler": web_ui_name(Choice(scheduler, options)),
        "CFG scale": f"{params.guidance_scale:g}",
        "Seed": seed,
        "Size": f"{width}x{height}",
        "Model": params.model_id,
        "VAE": params.vae,
        "Denoising strength": None if params.init_image is None else f"{params.strength:g}",
        # The web UI counts the last layer too.
        "Clip skip": None if params.clip_skip is None else params.clip_skip + 1,
    }
    loras = (f"<lora:{use.name}:{use.strength:g}>" for use in params.loras)
    lines = [" ".join((params.prompt, *loras))]
    if params.negative_prompt:
        lines.append(f"Negative prompt: {params.negative_prompt}")
    given = {name: str(value) for name, value in settings.items() if value is not None}
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in given.items()))
    return "\n".join(lines)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value
