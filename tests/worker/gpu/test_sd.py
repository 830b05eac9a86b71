"""Stable Diffusion in the engine is Stable Diffusion alone: same latents, same pixels."""

from concurrent.futures import wait

import numpy as np
import pytest
import torch

from shared.errors import BadInput
from shared.schedulers import SCHEDULERS
from tests.worker.gpu.fakes import Recorder
from tests.worker.gpu.plain import EXACT, SIDE, demo_sample, difference, half_mask, picture, run
from worker.gpu.families import DeviceLost, DeviceMemoryFull, load
from worker.gpu.families.device import on_device

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 60

MIXED = [  # scheduler, steps, strength, guidance, prompt
    ("DDIMScheduler", 10, 0.8, 7.5, "a cat"),
    ("PNDMScheduler", 8, 0.6, 5.0, "a dog"),
    ("EulerDiscreteScheduler", 12, 1.0, 9.0, "a castle"),
    ("EulerAncestralDiscreteScheduler", 6, 0.9, 3.0, "oil painting"),
    ("DPMSolverMultistepScheduler", 9, 0.7, 7.5, ""),
    ("UniPCMultistepScheduler", 7, 1.0, 12.0, "a cat"),
    ("DDIMScheduler", 5, 0.5, 1.0, "unguided"),
    ("EulerAncestralDiscreteScheduler", 8, 0.4, 0.0, "unguided too"),
    ("PNDMScheduler", 10, 1.0, 2.0, "a ship at sea " * 20),
    ("EulerDiscreteScheduler", 6, 0.9, 6.0, "a red castle " * 60),
    ("DPMSolverMultistepScheduler", 20, 0.3, 7.3, "snow"),
]


@pytest.fixture
def recorder(demo) -> Recorder:
    return Recorder(demo)


def run_together(engine, samples):
    engine.submit(samples)
    return [sample.done.result(SECONDS).pixels for sample in samples]


@pytest.mark.parametrize("mask", [None, half_mask()], ids=["image", "inpaint"])
def test_mixed_requests_share_steps_and_each_equals_diffusers_alone(
    plain, recorder, make_engine, mask
):
    engine = make_engine(recorder)
    samples = [
        demo_sample(
            scheduler=scheduler,
            steps=steps,
            strength=strength,
            guidance_scale=guidance,
            prompt=prompt,
            seed=index,
            image=picture(index),
            mask=mask,
        )
        for index, (scheduler, steps, strength, guidance, prompt) in enumerate(MIXED)
    ]
    early, late = samples[::2], samples[1::2]
    recorder.before = lambda _: engine.submit([late.pop()]) if late else None

    engine.submit(early)
    wait([sample.done for sample in samples], SECONDS)

    differences = [difference(recorder.latents[s][0], plain.alone(s)) for s in samples]
    assert max(differences) <= EXACT
    assert engine.occupancy > 2


@pytest.mark.parametrize("mask", [None, half_mask()], ids=["image", "inpaint"])
def test_pixels_equal_those_of_diffusers(plain, demo, mask):
    sample = demo_sample(steps=4, strength=0.8, mask=mask)

    pixels = run(demo, sample).pixels.astype(int)

    theirs = np.array(plain.alone(sample, output_type="pil")).astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.abs(pixels - theirs).max() <= 1
    assert (pixels != theirs).mean() < 0.001


def test_images_need_not_be_square(demo):
    sample = demo_sample(image=picture(1, 128)[:72, :104], steps=2)

    assert run(demo, sample).pixels.shape == (72, 104, 3)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("strength", "steps"), [(0.0, 8), (0.1, 5)])
def test_strength_for_less_than_a_step_returns_the_image_as_the_vae_has_it(
    plain, demo, scheduler, strength, steps
):
    sample = demo_sample(scheduler=scheduler, strength=strength, steps=steps)

    finished = run(demo, sample)

    assert finished.steps == 0
    assert np.abs(finished.pixels.astype(int) - plain.vae_round_trip(sample)).max() <= 1


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "PNDMScheduler"])
def test_a_black_mask_returns_the_image_as_the_vae_has_it(plain, demo, scheduler):
    sample = demo_sample(mask=np.zeros((SIDE, SIDE), np.uint8), scheduler=scheduler)

    pixels = run(demo, sample).pixels

    assert np.abs(pixels.astype(int) - plain.vae_round_trip(sample)).max() <= 1


def test_a_seed_repeats_to_the_byte_and_another_differs(demo, make_engine):
    engine = make_engine(demo)

    first, again, other = (run_together(engine, [demo_sample(seed=n)])[0] for n in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_neighbours_in_a_bucket_do_not_change_a_bit(demo, make_engine):
    engine = make_engine(demo, buckets=(4,))
    others = [demo_sample(seed=n, image=picture(n), guidance_scale=3.0 + n) for n in range(3)]

    alone_in_it = run_together(engine, [demo_sample(seed=9)])[0]
    with_others = run_together(engine, [*others, demo_sample(seed=9)])[-1]

    assert np.array_equal(alone_in_it, with_others)


def test_a_sample_that_fails_does_not_change_a_bit_of_its_neighbours(demo, make_engine):
    recorder = Recorder(demo)
    engine = make_engine(recorder, buckets=(4,))
    expected = run_together(engine, [demo_sample(seed=1), demo_sample(seed=2)])

    def spoil(samples):
        for sample in samples:
            if sample.prompt == "bad" and sample.step == 2:
                sample.denoising.embeddings = torch.zeros(2, 77, 3)

    recorder.before = spoil
    good, bad, good_too = demo_sample(seed=1), demo_sample(prompt="bad"), demo_sample(seed=2)
    engine.submit([good, bad, good_too])

    assert bad.done.exception(SECONDS) is not None
    assert np.array_equal(good.done.result(SECONDS).pixels, expected[0])
    assert np.array_equal(good_too.done.result(SECONDS).pixels, expected[1])


def test_predicting_again_changes_nothing(demo):
    sample = demo_sample(scheduler="EulerAncestralDiscreteScheduler")
    twice = demo_sample(scheduler="EulerAncestralDiscreteScheduler")
    demo.begin(twice)
    for _ in range(3):
        demo.predict([twice], 1)

    while twice.step < twice.total:
        demo.advance(twice, demo.predict([twice], 1)[0])

    assert np.array_equal(demo.finish(twice).pixels, run(demo, sample).pixels)


def test_more_steps_than_a_distilled_schedule_has_are_the_callers_mistake(demo):
    with pytest.raises(BadInput, match="LCMScheduler cannot take 51 steps"):
        demo.begin(demo_sample(scheduler="LCMScheduler", steps=51))


def test_an_unknown_scheduler_is_the_callers_mistake(demo):
    with pytest.raises(BadInput, match="NoScheduler"):
        demo.begin(demo_sample(scheduler="NoScheduler"))


def test_a_missing_folder_is_an_os_error(demo_card, tmp_path):
    with pytest.raises(OSError, match="nothing"):
        load(demo_card.model_copy(update={"source": tmp_path / "nothing"}), "cpu")


@pytest.mark.parametrize(
    ("error", "translated"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), DeviceMemoryFull),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), DeviceMemoryFull),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            DeviceMemoryFull,
        ),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), DeviceLost),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), DeviceLost),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
        (ValueError("out of memory is a song"), ValueError),
    ],
)
def test_errors_of_torch_are_told_by_what_they_mean(error, translated):
    def work():
        raise error

    with pytest.raises(translated) as caught:
        on_device(work)

    assert type(caught.value) is translated
    assert caught.value.__context__ is None
