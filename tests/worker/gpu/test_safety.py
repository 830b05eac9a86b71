"""The safety checker beside the plain diffusers pipeline's, with random weights."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionImg2ImgPipeline
from PIL import Image

from shared.errors import OutOfMemory
from shared.models import Safety
from tests.worker.gpu.fakes import CARD, make_sample
from tests.worker.gpu.plain import picture, run
from tests.worker.gpu.tiny_safety import NEVER, make_checker, make_processor, save
from worker.gpu.checks import Checks, check_of
from worker.gpu.engine import Engine
from worker.gpu.families import DeviceLost, load
from worker.gpu.families.safety import SafetyChecker
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.samples import Picture

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 60


def divided(*, threshold=0.055, care=True):
    """A checker that finds some of our pictures unsafe, a few of them because of special care."""
    checker = make_checker()
    with torch.no_grad():
        checker.concept_embeds_weights[0] = threshold
        checker.special_care_embeds_weights[0] = -0.13 if care else NEVER
    return checker


def card_of(folder, dtype="float32"):
    return Checks.find([CARD], Safety(source=folder, dtype=dtype)).checkers[CARD.model_id]


def check(pixels, checker):
    return check_of(Picture(pixels, steps=4), checker.card, make_sample())


@pytest.fixture
def loaded(tmp_path):
    """A checker as a worker has it, by way of its folder."""
    return lambda checker, dtype="float32": load(card_of(save(tmp_path, checker), dtype), "cpu")


@pytest.fixture(scope="module")
def plain(demo_folder):
    """The pipeline of diffusers with a checker."""

    def make(checker, dtype=torch.float32):
        options = {"safety_checker": checker.to(dtype), "feature_extractor": make_processor()}
        return StableDiffusionImg2ImgPipeline.from_pretrained(demo_folder, dtype=dtype, **options)

    return make


@pytest.fixture(scope="module")
def pictures():
    shapes = [(64, 64)] * 24 + [(96, 64), (64, 128), (40, 24), (33, 47)]
    return [
        np.array(Image.fromarray(picture(seed)).resize(shape)) for seed, shape in enumerate(shapes)
    ]


def verdicts_of(pipe, pictures):
    """What `run_safety_checker` says of each alone."""
    dtype = pipe.unet.dtype
    floats = [pixels[None].astype(np.float32) / 255 for pixels in pictures]
    return [pipe.run_safety_checker(image, "cpu", dtype)[1][0] for image in floats]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_verdicts_are_those_of_the_plain_pipeline(loaded, plain, pictures, dtype):
    ours = loaded(divided(), dtype)

    verdicts = [run(ours, check(pixels, ours)).unsafe for pixels in pictures]

    expected = verdicts_of(plain(divided(), getattr(torch, dtype)), pictures)
    careless = verdicts_of(plain(divided(care=False), getattr(torch, dtype)), pictures)
    assert verdicts == expected
    assert expected != careless
    assert set(careless) == {True, False}


def test_a_checker_sees_the_very_numbers_that_the_processor_makes(loaded, pictures):
    ours = loaded(divided())

    for pixels in pictures:
        sample = check(pixels, ours)
        ours.prepare(sample)
        ours.begin(sample)
        expected = make_processor()(Image.fromarray(pixels), return_tensors="pt").pixel_values
        assert torch.equal(sample.denoising, expected[0])


def test_checks_of_several_jobs_share_a_forward(loaded, pictures):
    ours = loaded(divided())
    samples = [check(pixels, ours) for pixels in pictures[:6]]
    for sample in samples:
        ours.prepare(sample)
        ours.begin(sample)

    together = ours.predict(samples, 8)
    alone = [ours.predict([sample], 1)[0] for sample in samples]

    assert len({sample.key for sample in samples}) == 1
    torch.testing.assert_close(torch.stack(together), torch.stack(alone))


@pytest.mark.parametrize("broken", ["visual_projection.weight", "concept_embeds_weights"])
def test_an_answer_that_is_no_number_is_an_error_where_diffusers_says_safe(
    loaded, plain, pictures, broken
):
    checker = divided()
    with torch.no_grad():
        checker.get_parameter(broken).fill_(torch.nan)
    ours = loaded(checker)

    with pytest.raises(ValueError, match="no number"):
        run(ours, check(pictures[0], ours))
    assert verdicts_of(plain(checker), pictures[:1]) == [False]


def test_a_checker_whose_answers_are_no_numbers_does_not_start(tmp_path):
    checker = card_of(save(tmp_path, make_checker(torch.nan)))
    engine = Engine(WarmPipelines([checker], "cpu", load), on_device_lost=lambda error: None)

    with pytest.raises(ValueError, match="no number"):
        engine.start()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("no room"), OutOfMemory),
        (RuntimeError("CUDA error: an illegal memory access"), DeviceLost),
        (TypeError("broken"), TypeError),
    ],
)
def test_errors_of_the_device_mean_what_they_mean_in_any_step(
    loaded, make_engine, monkeypatch, error, told
):
    def fail(self, samples, rows):
        raise error

    monkeypatch.setattr(SafetyChecker, "predict", fail)
    ours = loaded(divided())
    sample = check(picture(0), ours)

    make_engine(ours).submit([sample])

    assert isinstance(sample.done.exception(SECONDS), told)


def test_pictures_of_an_engine_are_judged_as_those_of_the_plain_pipeline(
    tmp_path, demo_card, plain
):
    checker = card_of(save(tmp_path, divided(threshold=0.01)))
    engine = Engine(
        WarmPipelines([demo_card, checker], "cpu", load), on_device_lost=lambda error: None
    )
    samples = [
        make_sample(model_id="demo", image=picture(seed), strength=0.5, seed=seed)
        for seed in range(8)
    ]

    engine.start()
    engine.submit(samples)
    checks = [check_of(s.done.result(SECONDS), checker, s) for s in samples]
    engine.submit(checks)
    verdicts = [sample.done.result(SECONDS).unsafe for sample in checks]
    engine.stop()

    pipe = plain(divided(threshold=0.01))
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    expected = [judged(pipe, sample) for sample in samples]
    assert verdicts == expected
    assert set(expected) == {True, False}


def judged(pipe, sample):
    return pipe(
        sample.prompt,
        negative_prompt=sample.negative_prompt,
        image=Image.fromarray(picture(sample.seed)),
        strength=sample.strength,
        num_inference_steps=sample.steps,
        guidance_scale=sample.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(sample.seed),
    ).nsfw_content_detected[0]


def test_the_checker_in_a_models_own_folder_is_read_with_the_processor_beside_it(tmp_path, plain):
    plain(divided()).save_pretrained(tmp_path / "sd")
    card = CARD.model_copy(update={"source": tmp_path / "sd"})

    (checker,) = Checks.find([card], Safety()).cards
    ours = load(checker, "cpu")

    assert run(ours, check(picture(0), ours)).unsafe in (True, False)


def test_a_folder_without_a_checker_is_an_error(tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)):
        load(card_of(tmp_path), "cpu")


def test_a_checker_without_its_processor_is_an_error(tmp_path):
    save(tmp_path / "checker", divided())
    (tmp_path / "checker" / "preprocessor_config.json").unlink()

    with pytest.raises(OSError, match="feature_extractor"):
        load(card_of(tmp_path / "checker"), "cpu")
