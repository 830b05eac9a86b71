"""Trains the demo model from nothing, or goes on where it was stopped.

`python -m infra.demo_model.train` keeps its state under .data/demo_model, with pictures of what the
model can do so far, and writes the finished checkpoint into infra/demo_model/checkpoint.
"""

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from infra.demo_model.architecture import assemble
from infra.demo_model.fitting import Plan
from infra.demo_model.grid import contact_sheet
from infra.demo_model.loss_curves import save_loss_curves
from infra.demo_model.train_text import train_text_encoder
from infra.demo_model.train_unet import train_unet
from infra.demo_model.train_vae import train_vae

CHECKPOINT = Path(__file__).with_name("checkpoint")
PROMPTS = (
    "a blue star on a yellow background",
    "a red heart on a white background",
    "a green square on a pink background",
    "a white moon on a black background",
    "an orange ring on a blue background",
    "a purple triangle on a green background",
    "a black cross on an orange background",
    "a yellow circle on a purple background",
)


def main() -> None:
    """Text encoder, VAE, UNet, one after the other."""
    options = _options()
    options.state.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    text = Plan(steps=options.text_steps, rate=2e-3)
    text_encoder, text_losses = train_text_encoder(text, options.state)
    vae, vae_losses = train_vae(Plan(steps=options.vae_steps, rate=1e-3), options.state)

    def look(unet: Any, step: int) -> None:
        save_samples(assemble(vae, text_encoder, unet), options.state / f"unet-{step:05}.png")

    plan = Plan(steps=options.unet_steps, rate=1e-3, fall_from=2 / 3)
    unet, unet_losses = train_unet(plan, text_encoder, options.state, look=look)
    curves = {"text encoder": text_losses, "VAE": vae_losses, "UNet": unet_losses}
    save_loss_curves(curves, options.state / "losses.png")
    save(assemble(vae, text_encoder, unet), options.to)


def save(pipe: Any, folder: Path) -> None:
    """The pipeline in half precision, in place of what the folder had.

    Not the text encoder, which is small: transformers would load it as it is, and diffusers the
    others in full precision, unless told.
    """
    for part in (pipe.vae, pipe.unet):
        part.half().to(memory_format=torch.contiguous_format)
    shutil.rmtree(folder, ignore_errors=True)
    pipe.save_pretrained(folder, safe_serialization=True)


def save_samples(pipe: Any, path: Path) -> None:
    """One picture of each prompt, out of nothing but noise."""
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(n) for n in range(len(PROMPTS))]
    images = pipe(
        list(PROMPTS),
        image=[Image.new("RGB", (128, 128), "grey")] * len(PROMPTS),
        strength=1.0,
        num_inference_steps=8,
        guidance_scale=4.0,
        generator=generators,
    ).images
    contact_sheet(images, columns=4).save(path)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--state", type=Path, default=Path(".data/demo_model"))
    parser.add_argument("--to", type=Path, default=CHECKPOINT)
    parser.add_argument("--text-steps", type=int, default=1000)
    parser.add_argument("--vae-steps", type=int, default=4000)
    parser.add_argument("--unet-steps", type=int, default=7500)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
