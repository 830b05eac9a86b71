"""Whatever shares its steps, a sample is what plain diffusers makes of it alone.

Where that is not so, or cannot be:

- less than one step of strength: the image as the VAE has it, where diffusers fails or adds noise;
- schedulers never clip latents, whatever a checkpoint's config or a class's default says;
- pictures carry no invisible watermark, which diffusers adds for XL where it has the library;
- an empty negative prompt is none: XL's base models then get zeros, as diffusers gives them;
- bits, in any precision: diffusers alone has another batch size, and another memory layout after
  an image. The differences are those of rounding; within a bucket of ours there are none.
"""

import json
import shutil
from concurrent.futures import wait

import numpy as np
import pytest
import torch

from shared.errors import BadInput
from shared.models import Limits
from shared.schedulers import SCHEDULERS
from tests.worker.gpu.fakes import Recorder, make_sample
from tests.worker.gpu.mixes import card_of
from tests.worker.gpu.plain import EXACT, SIDE, Plain, difference, half_mask, picture, run
from worker.gpu.families import load
from worker.gpu.families.pixels import to_tensor
from worker.gpu.families.vae import Vae, digests
from worker.gpu.pipelines import WarmPipelines

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 120

CASES = [  # model, what is asked of it
    ("sd", "image"),
    ("sd", "mask"),
    ("sd", "text"),
    ("sd-inpainting", "mask"),
    ("sdxl", "image"),
    ("sdxl", "mask"),
    ("sdxl", "text"),
    ("sdxl-inpainting", "mask"),
    ("sdxl-refiner", "image"),
]
STEPS = (6, 4, 8, 5, 7, 3)
STRENGTHS = (0.8, 1.0, 0.6, 0.4, 0.9)
GUIDANCES = (7.5, 5.0, 1.0, 9.0, 3.0, 0.0)
PROMPTS = ("a cat", "a dog", "", "oil painting", "a ship at sea " * 10)
NEGATIVES = ("blurry", "", "ugly")


def sample_of(model, kind, index=0, **changes):
    options = {
        "model_id": model,
        "scheduler": list(SCHEDULERS)[index % len(SCHEDULERS)],
        "steps": STEPS[index % len(STEPS)],
        "strength": STRENGTHS[index % len(STRENGTHS)],
        "guidance_scale": GUIDANCES[index % len(GUIDANCES)],
        "prompt": PROMPTS[index % len(PROMPTS)],
        "negative_prompt": NEGATIVES[index % len(NEGATIVES)],
        "seed": index,
        "image": None if kind == "text" else picture(index),
        "mask": half_mask() if kind == "mask" else None,
    }
    return make_sample(**(options | changes))


@pytest.mark.parametrize(("model", "kind"), CASES)
def test_mixed_requests_share_steps_and_each_equals_diffusers_alone(
    ours, plains, make_engine, model, kind
):
    recorder = Recorder(ours[model])
    engine = make_engine(recorder)
    samples = [sample_of(model, kind, index) for index in range(len(SCHEDULERS))]
    early, late = samples[::2], samples[1::2]
    recorder.before = lambda _: engine.submit([late.pop()]) if late else None

    engine.submit(early)
    wait([sample.done for sample in samples], SECONDS)

    differences = {
        s.scheduler: difference(recorder.latents[s][0], plains[model].alone(s)) for s in samples
    }
    assert {name: d for name, d in differences.items() if not d <= EXACT} == {}
    assert engine.occupancy > 2


@pytest.mark.parametrize(("model", "kind"), CASES)
def test_neighbours_and_slots_in_a_bucket_do_not_change_a_bit(ours, make_engine, model, kind):
    recorder = Recorder(ours[model])
    engine = make_engine(recorder, buckets=(4,))

    def latents_of(slot, others):
        mine = sample_of(model, kind, 3)
        samples = [sample_of(model, kind, n, guidance_scale=4.0) for n in others]
        samples.insert(slot, mine)
        engine.submit(samples)
        wait([sample.done for sample in samples], SECONDS)
        return recorder.latents[mine]

    alone = latents_of(0, [])

    assert torch.equal(alone, latents_of(0, [7, 1, 2]))
    assert torch.equal(alone, latents_of(2, [11, 6, 4]))


@pytest.mark.parametrize("model", ["sd", "sdxl"])
def test_text_to_image_shares_its_steps_with_image_to_image(ours, plains, make_engine, model):
    recorder = Recorder(ours[model])
    engine = make_engine(recorder)
    samples = [
        sample_of(model, "text", 3, strength=0.0),
        sample_of(model, "image", 3),
        sample_of(model, "text", 4, guidance_scale=2.0),
    ]

    engine.submit(samples)
    wait([sample.done for sample in samples], SECONDS)

    differences = [difference(recorder.latents[s][0], plains[model].alone(s)) for s in samples]
    assert max(differences) <= EXACT
    assert any(set(together) == set(samples) for together, _ in recorder.forwards)


@pytest.mark.parametrize(("model", "kind"), CASES[2:])
def test_pixels_equal_those_of_diffusers_in_any_shape(ours, plains, model, kind):
    sample = sample_of(model, kind, scheduler="EulerDiscreteScheduler", height=48, width=80)
    if kind != "text":
        sample.image = picture(5, 80)[:48]
    if kind == "mask":
        sample.mask = half_mask(80)[:48]

    pixels = run(ours[model], sample).pixels.astype(int)

    theirs = np.array(plains[model].alone(sample, output_type="pil")).astype(int)
    assert pixels.shape == (48, 80, 3)
    assert np.abs(pixels - theirs).max() <= 1
    assert (pixels != theirs).mean() < 0.001


@pytest.fixture(
    scope="module",
    params=[("sd", "float16"), ("sdxl", "float16"), ("sdxl", "bfloat16")],
    ids=" in ".join,
)
def half(folder_of, request):
    """Ours and theirs, in half precision."""
    model, dtype = request.param
    source = folder_of[model]
    return load(card_of(model, source, dtype), "cpu"), Plain(source, model, dtype)


@pytest.mark.filterwarnings("ignore:.upcast_vae. is deprecated:FutureWarning")
def test_in_half_precision_text_becomes_the_very_pixels_of_diffusers(half):
    ours, plain = half
    recorder = Recorder(ours)
    sample = sample_of(ours.card.model_id, "text", scheduler="EulerAncestralDiscreteScheduler")

    pixels = run(recorder, sample).pixels

    assert torch.equal(recorder.latents[sample][0], plain.alone(sample))
    assert np.array_equal(pixels, np.array(plain.alone(sample, output_type="pil")))


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_in_half_precision_an_image_differs_by_rounding_alone(half, kind):
    # Diffusers goes on in the image's memory layout, pixel by pixel, and so with other kernels.
    ours, plain = half
    recorder = Recorder(ours)
    sample = sample_of(
        ours.card.model_id, kind, scheduler="EulerAncestralDiscreteScheduler", steps=4
    )

    run(recorder, sample)

    assert difference(recorder.latents[sample][0], plain.alone(sample)) < 0.1


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_in_half_precision_xl_encodes_an_image_in_full(folder_of, dtype):
    plain = Plain(folder_of["sdxl"], "sdxl", dtype).pipe
    sample = sample_of("sdxl", "image", 1)
    sample.digests = digests(sample)

    with torch.no_grad():
        theirs = plain.prepare_latents(
            to_tensor(sample.image),
            timestep=None,
            batch_size=1,
            num_images_per_prompt=1,
            dtype=plain.dtype,
            device="cpu",
            generator=torch.Generator().manual_seed(1),
            add_noise=False,
        )
        mine = Vae(plain.vae, upcast=True).encode(sample, torch.Generator().manual_seed(1))

    assert torch.equal(mine, theirs)


def test_xl_encodes_an_empty_negative_prompt_if_its_config_says_so(folder_of, tmp_path):
    folder = shutil.copytree(folder_of["sdxl"], tmp_path / "sdxl")
    file = folder / "model_index.json"
    config = json.loads(file.read_text()) | {"force_zeros_for_empty_prompt": False}
    file.write_text(json.dumps(config))
    recorder = Recorder(load(card_of("sdxl", folder), "cpu"))
    sample = sample_of("sdxl", "image", negative_prompt="")

    run(recorder, sample)

    theirs = Plain(folder, "sdxl").alone(sample)
    assert difference(recorder.latents[sample][0], theirs) <= EXACT


@pytest.mark.parametrize(
    ("model", "changes", "reason"),
    [
        ("sd-inpainting", {}, "only inpaints"),
        ("sdxl-inpainting", {}, "only inpaints"),
        ("sdxl-inpainting", {"image": None}, "only inpaints"),
        ("sdxl-inpainting", {"image": None, "mask": half_mask()}, "only inpaints"),
        ("sd", {"image": None, "mask": half_mask()}, "mask needs an image"),
        ("sdxl-refiner", {"image": None}, "only refines"),
    ],
)
def test_what_a_checkpoint_cannot_do_is_the_callers_mistake(ours, model, changes, reason):
    with pytest.raises(BadInput, match=reason):
        ours[model].begin(sample_of(model, "image", **changes))


@pytest.mark.parametrize("model", ["sd-inpainting", "sdxl", "sdxl-inpainting"])
def test_strength_for_less_than_a_step_returns_the_image_as_the_vae_has_it(ours, plains, model):
    sample = sample_of(model, "mask", strength=0.1, steps=5)

    finished = run(ours[model], sample)

    assert finished.steps == 0
    assert np.abs(finished.pixels.astype(int) - plains[model].vae_round_trip(sample)).max() <= 1


@pytest.mark.parametrize("model", ["sd-inpainting", "sdxl", "sdxl-inpainting", "sdxl-refiner"])
def test_every_kind_of_checkpoint_warms_up(folder_of, model):
    limits = Limits(min_side=SIDE)
    card = card_of(model, folder_of[model]).model_copy(update={"limits": limits})

    WarmPipelines([card], "cpu", load).warm_up((1,))


def test_a_checkpoint_of_another_family_is_refused(folder_of):
    with pytest.raises(ValueError, match="not that of Stable Diffusion 1"):
        load(card_of("sd", folder_of["sdxl"]), "cpu")
