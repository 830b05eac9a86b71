"""SD 1.5, SDXL base and Flux.1 dev by their public configs, with random weights.

The worker loads them by its own `load`; only the reading of a folder is replaced.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import torch
import transformers

from infra.bench.gpu.plan import COMPILED, EAGER, Plan
from infra.bench.gpu.sizes import FULL, TINY, Sizes
from infra.demo_model.tokenizer import TOKENS, WORDS, make_tokenizer
from shared.models import Family, Limits, ModelCard
from worker.gpu.engine import BUCKETS
from worker.gpu.families import FAMILIES, Pipeline, load

SEED = 20260301
DTYPE = "bfloat16"
COMPILES = "compile" in ModelCard.model_fields
"""Whether this worker can compile a model's denoiser."""
TINY_SIDE = 64
BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
FLOW = {"shift": 3.0, "base_shift": 0.5, "max_shift": 1.15, "use_dynamic_shifting": True}


@dataclass(frozen=True)
class Architecture:
    """A public model, and the request that its speed is quoted for."""

    family: Family
    side: int
    steps: int
    guidance_scale: float
    scheduler: str
    parameters: int
    """Of the published denoiser."""
    pipeline: str
    """The image-to-image class of diffusers."""

    @property
    def halves(self) -> int:
        """Rows of the denoiser for one image."""
        return 1 if self.family == "flux" else 2


ARCHITECTURES = {
    "sd15": Architecture(
        "sd", 512, 30, 7.5, "DDIMScheduler", 859_520_964, "StableDiffusionImg2ImgPipeline"
    ),
    "sdxl": Architecture(
        *("sdxl", 1024, 30, 7.5, "EulerDiscreteScheduler"),
        *(2_567_463_684, "StableDiffusionXLImg2ImgPipeline"),
    ),
    "flux": Architecture(
        *("flux", 1024, 28, 3.5, "FlowMatchEulerDiscreteScheduler"),
        *(11_901_408_320, "FluxImg2ImgPipeline"),
    ),
}
STRENGTH = 0.7
BATCH = {"sd15": 8, "sdxl": 4, "flux": 4}
"""Images a step at the most: beyond them the published curves are flat."""


def cases(plan: Plan) -> tuple[str, ...]:
    """The models, each in the forms that the worker can run it in; a miniature is not compiled."""
    can_compile = COMPILES and not plan.tiny
    forms = [form for form in plan.forms if form == EAGER or can_compile]
    return tuple(f"{name} {form}" for name in plan.models for form in forms)


def buckets(name: str, form: str) -> tuple[int, ...]:
    """What a step is padded to. Compiled it is one size, as every size takes minutes to compile."""
    whole = BATCH[name]
    return (whole,) if form == COMPILED else tuple(b for b in BUCKETS if b <= whole)


def card(name: str, plan: Plan, form: str = EAGER, **changes: Any) -> ModelCard:
    """The model's line of an allow-list."""
    architecture = ARCHITECTURES[name]
    side = TINY_SIDE if plan.tiny else architecture.side
    fields = {
        "model_id": name,
        "family": architecture.family,
        "source": Path(),
        "dtype": DTYPE,
        "scheduler": architecture.scheduler,
        "limits": Limits(max_side=1024, multiple=16, default_side=side),
    }
    if form == COMPILED:
        fields["compile"] = plan.compile_mode
    return ModelCard(**(fields | changes))


def load_ours(name: str, plan: Plan, form: str = EAGER, **changes: Any) -> Pipeline:
    """The worker's pipeline of a model; `changes` are those of its card."""
    pipe = build(name, plan)
    family = import_module(FAMILIES[ARCHITECTURES[name].family])
    with patch.object(family, "read", lambda *_, **__: pipe):
        return load(card(name, plan, form, **changes), plan.device)


def build(name: str, plan: Plan) -> Any:
    """The diffusers pipeline; on a device always the same weights."""
    parts = make_parts(name, plan.device, tiny=plan.tiny)
    if name == "flux":
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**FLOW)
    else:
        kind = {"sd15": "PNDMScheduler", "sdxl": "EulerDiscreteScheduler"}[name]
        scheduler = getattr(diffusers, kind).from_config(BETAS)
    options: dict[str, Any] = {
        "sd15": {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        },
        "sdxl": {"tokenizer_2": make_tokenizer(TOKENS), "add_watermarker": False},
        "flux": {"tokenizer_2": make_t5_tokenizer()},
    }[name]
    pipe = getattr(diffusers, ARCHITECTURES[name].pipeline)(
        **parts, scheduler=scheduler, tokenizer=make_tokenizer(TOKENS), **options
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_parts(name: str, device: str, *, tiny: bool) -> dict[str, Any]:
    """The networks, by their names in the pipeline; on `meta` they have shapes and no weights."""
    sizes = (TINY if tiny else FULL)[name]
    with _made_on(device, getattr(torch, DTYPE)):
        parts = _networks(name, sizes)
    return {part: network.eval().requires_grad_(False) for part, network in parts.items()}


def denoiser(parts: dict[str, Any]) -> Any:
    """The network that runs at every step."""
    return parts.get("unet") or parts["transformer"]


def make_t5_tokenizer() -> Any:
    """T5's tokenizer over the demo model's words and single letters."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = {f"▁{word}": -1.0 for word in WORDS.split()}
    letters = dict.fromkeys("▁abcdefghijklmnopqrstuvwxyz0123456789.,", -4.0)
    return transformers.T5TokenizerFast(
        vocab=[*specials, *(letters | words).items()], extra_ids=0, model_max_length=512
    )


def _networks(name: str, sizes: Sizes) -> dict[str, Any]:
    ends = {"bos_token_id": len(TOKENS) - 2, "eos_token_id": len(TOKENS) - 1}
    ends["pad_token_id"] = ends["eos_token_id"]
    text = transformers.CLIPTextConfig(**sizes.text, **ends)
    parts = {
        "vae": diffusers.AutoencoderKL(**sizes.vae),
        "text_encoder": transformers.CLIPTextModel(text),
    }
    if name == "flux":
        parts["transformer"] = diffusers.FluxTransformer2DModel(**sizes.denoiser)
        config = transformers.T5Config(**sizes.second_text, feed_forward_proj="gated-gelu")
        parts["text_encoder_2"] = transformers.T5EncoderModel(config)
        return parts
    parts["unet"] = diffusers.UNet2DConditionModel(**sizes.denoiser)
    if name == "sdxl":
        config = transformers.CLIPTextConfig(**sizes.second_text, **ends)
        parts["text_encoder_2"] = transformers.CLIPTextModelWithProjection(config)
    return parts


@contextmanager
def _made_on(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Networks are made there, in that type, with the same random weights each time."""
    before = torch.get_default_dtype()
    cards = [torch.cuda.current_device()] if device.startswith("cuda") else []
    with torch.random.fork_rng(cards), torch.device(device):
        torch.manual_seed(SEED)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
