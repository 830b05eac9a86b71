"""Kontext in the engine is Kontext alone: same latents, same pixels, whoever shares the steps."""

from concurrent.futures import wait

import diffusers
import numpy as np
import pytest
import torch
from diffusers import FluxKontextInpaintPipeline, FluxKontextPipeline
from PIL import Image

from shared.schedulers import SCHEDULERS, choose, fitting
from tests.worker.gpu.fakes import Recorder, make_sample
from tests.worker.gpu.plain import OWN, difference, final_latents, picture, ragged_mask, run
from worker.gpu.families import load
from worker.gpu.pipelines import WarmPipelines

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 60
TOLERANCE = 1e-5
WITH_IMAGE = ("image", "inpaint")
FORMS = (*WITH_IMAGE, "text")

MIXED = [  # prompt, steps, strength, guidance
    ("make it a cat", 6, 0.8, 2.5),
    ("add snow", 4, 0.6, 1.0),
    ("castle", 9, 1.0, 7.0),
    ("", 5, 0.35, 0.0),
    ("a ship at sea " * 40, 7, 0.95, 3.5),
    ("oil painting, zebra", 12, 0.3, 30.0),
]


def kontext_sample(form="image", **changes):
    """With an image, with a mask too, or of the text alone."""
    options = {
        "model_id": "kontext",
        "image": None if form == "text" else picture(changes.get("seed", 0)),
        "mask": ragged_mask() if form == "inpaint" else None,
        "scheduler": OWN,
        "distilled": True,
    }
    return make_sample(**(options | changes))


def alone(components, sample, scheduler=None, output_type="latent"):
    """What diffusers makes of the sample, as packed latents or picture."""
    kind, options = FluxKontextPipeline, {}
    if sample.image is not None:
        options["image"] = Image.fromarray(sample.image)
    if sample.mask is not None:
        kind = FluxKontextInpaintPipeline
        options |= {"mask_image": Image.fromarray(sample.mask), "strength": sample.strength}
    own = components["scheduler"]
    pipe = kind(**components | {"scheduler": scheduler or type(own).from_config(own.config)})
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt=sample.prompt,
        height=sample.height,
        width=sample.width,
        max_area=sample.height * sample.width,
        _auto_resize=False,
        num_inference_steps=sample.steps,
        guidance_scale=sample.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(sample.seed),
        output_type=output_type,
        **options,
    ).images[0]


def run_together(engine, samples):
    engine.submit(samples)
    return [sample.done.result(SECONDS).pixels for sample in samples]


@pytest.mark.parametrize("form", FORMS)
def test_mixed_requests_share_steps_and_each_equals_diffusers_alone(
    plain_kontext, kontext, make_engine, form
):
    recorder = Recorder(kontext)
    engine = make_engine(recorder)
    samples = [
        kontext_sample(
            form, prompt=prompt, steps=steps, strength=strength, guidance_scale=guidance, seed=seed
        )
        for seed, (prompt, steps, strength, guidance) in enumerate(MIXED)
    ]
    early, late = samples[::2], samples[1::2]
    recorder.before = lambda _: engine.submit([late.pop()]) if late else None

    engine.submit(early)
    wait([sample.done for sample in samples], SECONDS)

    differences = [difference(recorder.latents[s][0], alone(plain_kontext, s)) for s in samples]
    assert max(differences) <= TOLERANCE
    assert engine.occupancy > 2


def test_only_samples_that_see_as_much_share_a_step(plain_kontext, kontext, make_engine):
    recorder = Recorder(kontext)
    engine = make_engine(recorder)
    samples = [kontext_sample(form, seed=seed) for form in FORMS for seed in range(2)]

    run_together(engine, samples)

    shared = {frozenset(forwarded) for forwarded, _ in recorder.forwards}
    assert shared == {frozenset(samples[n : n + 2]) for n in (0, 2, 4)}
    differences = [difference(recorder.latents[s][0], alone(plain_kontext, s)) for s in samples]
    assert max(differences) <= TOLERANCE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_alone_in_a_batch_it_has_the_bits_of_diffusers(kontext_card, form, dtype):
    card = kontext_card.model_copy(update={"dtype": dtype})
    theirs = FluxKontextPipeline.from_pretrained(card.source, dtype=getattr(torch, dtype))
    sample = kontext_sample(form, strength=0.8, steps=6)

    latents = final_latents(load(card, "cpu"), sample)

    assert torch.equal(latents[0], alone(theirs.components, sample))


@pytest.mark.parametrize("form", FORMS)
def test_the_neighbours_in_a_bucket_do_not_change_a_bit(kontext, make_engine, form):
    recorder = Recorder(kontext)
    engine = make_engine(recorder, buckets=(4,))
    wanted = [kontext_sample(form, seed=9, steps=6) for _ in range(3)]
    others = [
        kontext_sample(form, seed=n, prompt="a dog", steps=3 + n, guidance_scale=n)
        for n in range(3)
    ]

    run_together(engine, wanted[:1])
    run_together(engine, [*others, wanted[1]])
    run_together(engine, [wanted[2], kontext_sample(form, seed=5, strength=0.5)])

    first, *rest = [recorder.latents[sample] for sample in wanted]
    assert all(torch.equal(first, latents) for latents in rest)


def test_without_a_mask_strength_means_nothing(kontext):
    gentle, bold = kontext_sample(strength=0.1), kontext_sample(strength=1.0)

    assert torch.equal(final_latents(kontext, gentle), final_latents(kontext, bold))
    assert gentle.step == bold.step == gentle.steps


@pytest.mark.parametrize(("steps", "strength", "calls"), [(10, 0.05, 1), (10, 0.25, 3), (4, 1, 4)])
def test_under_a_mask_a_started_step_counts_in_full(kontext, steps, strength, calls):
    assert run(kontext, kontext_sample("inpaint", steps=steps, strength=strength)).steps == calls


@pytest.mark.parametrize(
    "change", [{"prompt": "a dog"}, {"image": picture(7)}, {"guidance_scale": 1.0}]
)
@pytest.mark.parametrize("form", WITH_IMAGE)
def test_prompt_image_and_guidance_are_heard(kontext, form, change):
    one, other = kontext_sample(form), kontext_sample(form, **change)

    assert difference(final_latents(kontext, one), final_latents(kontext, other)) > 100 * TOLERANCE


@pytest.mark.parametrize(("height", "width"), [(64, 96), (112, 48)])
@pytest.mark.parametrize("form", ["image", "text"])
def test_images_need_not_be_square(plain_kontext, kontext, form, height, width):
    image = None if form == "text" else picture(1, 128)[:height, :width]
    sample = kontext_sample(form, image=image)
    sample.height, sample.width = height, width
    recorder = Recorder(kontext)

    pixels = run(recorder, sample).pixels

    assert pixels.shape == (height, width, 3)
    assert difference(recorder.latents[sample][0], alone(plain_kontext, sample)) <= TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_pixels_equal_those_of_diffusers(plain_kontext, kontext, form):
    sample = kontext_sample(form, strength=0.8)

    pixels = run(kontext, sample).pixels.astype(int)

    theirs = np.array(alone(plain_kontext, sample, output_type="pil")).astype(int)
    assert np.abs(pixels - theirs).max() <= 1
    assert (pixels != theirs).mean() < 0.001


def test_strength_zero_under_a_mask_returns_the_image_as_the_vae_has_it(plain_kontext, kontext):
    sample = kontext_sample("inpaint", strength=0.0)
    vae, shown = plain_kontext["vae"], torch.from_numpy(sample.image).permute(2, 0, 1)[None]

    finished = run(kontext, sample)

    with torch.no_grad():
        decoded = vae.decode(vae.encode(shown / 127.5 - 1).latent_dist.mode()).sample
    expected = ((decoded[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).round().numpy()
    assert finished.steps == 0
    assert np.abs(finished.pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("form", FORMS)
def test_a_scheduler_serves_where_diffusers_accepts_it_and_else_the_models_own(
    plain_kontext, kontext, form, name
):
    config = plain_kontext["scheduler"].config
    flow_form = getattr(diffusers, name).from_config(
        config, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=config["shift"]
    )
    sample = kontext_sample(form, scheduler=name, strength=0.7)
    try:
        expected, used = alone(plain_kontext, sample, flow_form), name
    except (ValueError, TypeError, AttributeError):
        expected, used = alone(plain_kontext, sample), OWN
    recorder = Recorder(kontext)

    finished = run(recorder, sample)

    assert finished.scheduler == used
    assert difference(recorder.latents[sample][0], expected) <= TOLERANCE


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("form", WITH_IMAGE)
@pytest.mark.parametrize("family", ["flux", "kontext"])
def test_the_door_chooses_what_the_engine_runs(flux, kontext, family, form, name):
    pipeline = {"flux": flux["dev"], "kontext": kontext}[family]
    sample = kontext_sample(form, scheduler=name, steps=1)

    chosen = choose(name, OWN, fits=fitting(family, "mask" if form == "inpaint" else "image"))

    assert run(pipeline, sample).scheduler == chosen.name


def test_it_warms_up(kontext_card):
    WarmPipelines([kontext_card], "cpu", load).warm_up((1, 2))
