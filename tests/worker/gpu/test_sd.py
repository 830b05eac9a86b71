"""Stable Diffusion in the engine is Stable Diffusion alone: same latents, same pixels."""

import json
import shutil

import numpy as np
import pytest
import torch

from shared.errors import BadInput
from tests.worker.gpu.fakes import Recorder, make_sample
from tests.worker.gpu.plain import SIDE, Plain, difference, half_mask, picture, run
from worker.gpu.families import DeviceLost, DeviceOutOfMemory, load
from worker.gpu.families.device import on_device
from worker.gpu.families.schedulers import SCHEDULERS

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 60


@pytest.fixture(scope="module")
def plain(demo_folder):
    return Plain(demo_folder)


@pytest.fixture(scope="module")
def loaded_as(demo, demo_card, tmp_path_factory):
    """The model as it is, and the same weights said to predict velocities."""
    folder = tmp_path_factory.mktemp("v") / "demo"
    shutil.copytree(demo_card.source, folder)
    file = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text()) | {"prediction_type": "v_prediction"}
    file.write_text(json.dumps(config))
    velocities = load(demo_card.model_copy(update={"source": folder}), "cpu")
    return {"epsilon": demo, "v_prediction": velocities}


def demo_sample(**changes):
    options = {"model_id": "demo", "image": picture(0), "negative_prompt": "blurry"}
    return make_sample(**(options | changes))


def run_together(engine, samples):
    engine.submit(samples)
    return [sample.done.result(SECONDS).pixels for sample in samples]


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_every_scheduler_equals_diffusers_alone(plain, loaded_as, name, prediction_type):
    recorder = Recorder(loaded_as[prediction_type])
    config = plain.config | {"prediction_type": prediction_type}
    sample = demo_sample(scheduler=name, steps=6, strength=0.7, prompt="a cat")

    run(recorder, sample)

    assert sample.step == sample.total
    assert difference(recorder.latents[sample][0], plain.alone(sample, config)) <= 1e-5


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_can_take_a_single_step(demo, name):
    assert run(demo, demo_sample(scheduler=name, steps=1)).steps == 1


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
                sample.denoising.conditions.embeddings = torch.zeros(2, 77, 3)

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


def test_an_unknown_scheduler_is_the_callers_mistake(demo):
    with pytest.raises(BadInput, match="NoScheduler"):
        demo.begin(demo_sample(scheduler="NoScheduler"))


def test_a_missing_folder_is_an_os_error(demo_card, tmp_path):
    with pytest.raises(OSError, match="nothing"):
        load(demo_card.model_copy(update={"source": tmp_path / "nothing"}), "cpu")


@pytest.mark.parametrize(
    ("error", "translated"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), DeviceOutOfMemory),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), DeviceOutOfMemory),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            DeviceOutOfMemory,
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
