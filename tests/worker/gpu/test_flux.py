"""Flux in the engine is Flux alone: same latents, same pixels, whoever shares the steps."""

from concurrent.futures import wait

import numpy as np
import pytest
import torch

from shared.models import Limits
from tests.worker.gpu.fakes import Recorder
from tests.worker.gpu.plain import (
    EXACT,
    FORMS,
    Plain,
    difference,
    final_latents,
    flux_sample,
    picture,
    run,
)
from worker.gpu.families import load
from worker.gpu.pipelines import WarmPipelines

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 60
KINDS = ("dev", "schnell")

MIXED = [  # prompt, steps, strength, guidance
    ("a cat", 6, 0.8, 3.5),
    ("a dog in the snow", 4, 0.6, 1.0),
    ("castle", 9, 1.0, 7.0),
    ("", 5, 0.35, 0.0),
    ("a ship at sea " * 40, 7, 0.95, 2.5),
    ("oil painting, zebra", 12, 0.3, 30.0),
]


def run_together(engine, samples):
    engine.submit(samples)
    return [sample.done.result(SECONDS).pixels for sample in samples]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_mixed_requests_share_steps_and_each_equals_diffusers_alone(
    plain_flux, flux, make_engine, kind, form
):
    recorder = Recorder(flux[kind])
    engine = make_engine(recorder)
    samples = [
        flux_sample(
            form,
            model_id=kind,
            prompt=prompt,
            steps=steps,
            strength=strength,
            guidance_scale=guidance,
            seed=seed,
        )
        for seed, (prompt, steps, strength, guidance) in enumerate(MIXED)
    ]
    early, late = samples[::2], samples[1::2]
    recorder.before = lambda _: engine.submit([late.pop()]) if late else None

    engine.submit(early)
    wait([sample.done for sample in samples], SECONDS)

    differences = [difference(recorder.latents[s][0], plain_flux[kind].alone(s)) for s in samples]
    assert max(differences) <= EXACT
    assert engine.occupancy > 2


@pytest.mark.parametrize("kind", KINDS)
def test_text_and_image_samples_share_steps(plain_flux, flux, make_engine, kind):
    recorder = Recorder(flux[kind])
    engine = make_engine(recorder)
    samples = [flux_sample("image", model_id=kind), flux_sample("text", model_id=kind)]

    run_together(engine, samples)

    assert [len(forwarded) for forwarded, _ in recorder.forwards] == [2] * 4
    differences = [difference(recorder.latents[s][0], plain_flux[kind].alone(s)) for s in samples]
    assert max(differences) <= EXACT


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_alone_in_a_batch_it_has_the_bits_of_diffusers(flux_cards, form, dtype):
    card = flux_cards["dev"].model_copy(update={"dtype": dtype})
    sample = flux_sample(form, strength=0.8, steps=6)

    latents = final_latents(load(card, "cpu"), sample)

    assert torch.equal(latents[0], Plain(card.source, "flux", dtype).alone(sample))


def test_dev_listens_to_guidance_and_schnell_does_not(flux):
    def spread(kind):
        low, high = (
            final_latents(flux[kind], flux_sample(model_id=kind, guidance_scale=scale))
            for scale in (1.0, 7.0)
        )
        return difference(low, high)

    assert spread("dev") > 100 * EXACT
    assert spread("schnell") == 0


def test_the_prompt_is_heard(flux):
    cat, dog = (final_latents(flux["dev"], flux_sample(prompt=p)) for p in ("a cat", "a dog"))

    assert difference(cat, dog) > 100 * EXACT


def test_the_guidance_scale_splits_no_batch():
    keys = {flux_sample(guidance_scale=scale).key for scale in (0.0, 1.0, 3.5, 30.0)}

    assert len(keys) == 1
    assert not keys.pop().guided


@pytest.mark.parametrize(("height", "width"), [(64, 96), (112, 48)])
@pytest.mark.parametrize("form", ["image", "text"])
def test_images_need_not_be_square(plain_flux, flux, form, height, width):
    image = None if form == "text" else picture(1, 128)[:height, :width]
    sample = flux_sample(form, image=image)
    sample.height, sample.width = height, width
    recorder = Recorder(flux["dev"])

    pixels = run(recorder, sample).pixels

    assert pixels.shape == (height, width, 3)
    assert difference(recorder.latents[sample][0], plain_flux["dev"].alone(sample)) <= EXACT


@pytest.mark.parametrize("form", FORMS)
def test_pixels_equal_those_of_diffusers(plain_flux, flux, form):
    sample = flux_sample(form, strength=0.8)

    pixels = run(flux["dev"], sample).pixels.astype(int)

    theirs = np.array(plain_flux["dev"].alone(sample, output_type="pil")).astype(int)
    assert np.abs(pixels - theirs).max() <= 1
    assert (pixels != theirs).mean() < 0.001


@pytest.mark.parametrize(("steps", "strength", "calls"), [(10, 0.05, 1), (10, 0.25, 3), (4, 1, 4)])
def test_a_started_step_counts_in_full(flux, steps, strength, calls):
    assert run(flux["dev"], flux_sample(steps=steps, strength=strength)).steps == calls


@pytest.mark.parametrize("form", ["image", "mask"])
def test_strength_zero_returns_the_image_as_the_vae_has_it(plain_flux, flux, form):
    sample = flux_sample(form, strength=0.0)

    finished = run(flux["dev"], sample)

    theirs = plain_flux["dev"].vae_round_trip(sample)
    assert finished.steps == 0
    assert np.abs(finished.pixels.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_neighbours_in_a_bucket_do_not_change_a_bit(flux, make_engine, kind, form):
    recorder = Recorder(flux[kind])
    engine = make_engine(recorder, buckets=(4,))
    wanted = [flux_sample(form, model_id=kind, seed=9, steps=6) for _ in range(3)]
    others = [
        flux_sample(form, model_id=kind, seed=n, prompt="a dog", steps=3 + n, guidance_scale=n)
        for n in range(3)
    ]

    run_together(engine, wanted[:1])
    run_together(engine, [*others, wanted[1]])
    run_together(engine, [wanted[2], flux_sample(form, model_id=kind, seed=5, strength=0.5)])

    first, *rest = [recorder.latents[sample] for sample in wanted]
    assert all(torch.equal(first, latents) for latents in rest)


def test_a_sample_that_fails_does_not_change_a_bit_of_its_neighbours(flux, make_engine):
    recorder = Recorder(flux["dev"])
    engine = make_engine(recorder, buckets=(4,))
    expected = run_together(engine, [flux_sample(seed=1), flux_sample(seed=2)])

    def spoil(samples):
        for sample in samples:
            if sample.prompt == "bad" and sample.step == 2:
                sample.denoising.embeddings = torch.zeros(1, 512, 3)

    recorder.before = spoil
    good, bad, good_too = flux_sample(seed=1), flux_sample(prompt="bad"), flux_sample(seed=2)
    engine.submit([good, bad, good_too])

    assert bad.done.exception(SECONDS) is not None
    assert np.array_equal(good.done.result(SECONDS).pixels, expected[0])
    assert np.array_equal(good_too.done.result(SECONDS).pixels, expected[1])


def test_it_warms_up(flux_cards):
    WarmPipelines(flux_cards.values(), "cpu", load).warm_up((1, 2))


def test_a_missing_folder_is_an_os_error(flux_cards, tmp_path):
    with pytest.raises(OSError, match="nothing"):
        load(flux_cards["dev"].model_copy(update={"source": tmp_path / "nothing"}), "cpu")


def test_sides_that_cannot_be_packed_are_refused_at_load(flux_cards):
    with pytest.raises(ValueError, match="multiple of 16"):
        load(flux_cards["dev"].model_copy(update={"limits": Limits(multiple=8)}), "cpu")
