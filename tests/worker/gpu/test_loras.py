"""LoRAs of a request: as diffusers has them, switched between steps, and gone without a trace."""

import json
from concurrent.futures import wait
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from shared.add_ons import AddOn
from shared.errors import BadInput
from shared.models import ModelCard
from tests.worker.gpu.fakes import Recorder, make_sample
from tests.worker.gpu.plain import Plain, difference, picture, run
from tests.worker.gpu.tiny_add_ons import kohya_layers, lora_layers, save
from tests.worker.gpu.tiny_models import save_sdxl
from worker.gpu.families import DeviceMemoryFull, load, loras
from worker.gpu.samples import WeightedLora

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning"),
]

SECONDS = 60
EXACT = 1e-5


@pytest.fixture(scope="module")
def cards(demo_card, flux_cards, tmp_path_factory):
    folder = save_sdxl(tmp_path_factory.mktemp("tiny") / "sdxl")
    sdxl = ModelCard(model_id="sdxl", family="sdxl", source=folder)
    return {"sd": demo_card, "sdxl": sdxl, "flux": flux_cards["dev"]}


def family_of(card, folder):
    """A model, two LoRAs for it, and what plain diffusers makes of its samples."""
    pipe = Plain(card.source, card.family).pipe
    denoiser = "transformer" if card.family == "flux" else "unet"
    encoders = ["text_encoder", "text_encoder_2"] if card.family == "sdxl" else ["text_encoder"]
    parts = {name: getattr(pipe, name) for name in (denoiser, *encoders)}
    folder /= card.model_id
    (folder / "styles").mkdir(parents=True, exist_ok=True)
    ink = save(folder, "styles/ink.v1", lora_layers(parts, 1), card.family)
    snow = save(folder, "snow", lora_layers({denoiser: parts[denoiser]}, 2), card.family)
    return SimpleNamespace(card=card, parts=parts, ink=ink, snow=snow)


def alone(card, sample):
    """By `load_lora_weights` and `set_adapters`, in the order of the request."""
    plain = Plain(card.source, card.family)
    names = [f"adapter{index}" for index, _ in enumerate(sample.loras)]
    for name, lora in zip(names, sample.loras, strict=True):
        plain.pipe.load_lora_weights(lora.card.source, adapter_name=name)
    if names:
        plain.pipe.set_adapters(names, [lora.strength for lora in sample.loras])
    return plain.alone(sample)


def sample_of(card, *weighted, **changes):
    options = {
        "model_id": card.model_id,
        "scheduler": card.scheduler if card.family == "flux" else "EulerDiscreteScheduler",
        "distilled": card.distilled,
        "image": picture(3),
        "negative_prompt": "blurry",
        "loras": tuple(WeightedLora(*each) for each in weighted),
    }
    return make_sample(**(options | changes))


def latents(pipeline, sample):
    recorder = Recorder(pipeline)
    run(recorder, sample)
    return recorder.latents[sample]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("loras")


@pytest.fixture(scope="module")
def sd(cards, folder):
    return family_of(cards["sd"], folder)


@pytest.fixture
def pipeline(sd):
    """A fresh one, because these tests leave LoRAs in it."""
    return load(sd.card, "cpu")


def test_putting_one_in_changes_nothing_for_a_thread_that_loads_a_model(pipeline, sd, monkeypatch):
    usual, make = torch.nn.Module.register_parameter, torch.nn.Linear.reset_parameters
    seen = set()

    def look(linear):
        seen.add(torch.nn.Module.register_parameter)
        make(linear)

    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", look)
    latents(pipeline, sample_of(sd.card, (sd.ink, 1.0)))

    assert seen == {usual}


@pytest.mark.parametrize("name", ["sd", "sdxl", "flux"])
def test_sets_of_loras_alternate_step_by_step_and_each_equals_diffusers_alone(
    cards, folder, make_engine, name
):
    card = cards[name]
    family = family_of(card, folder)
    recorder = Recorder(load(card, "cpu"))
    never_added = latents(recorder.pipeline, sample_of(card, seed=2))
    engine = make_engine(recorder)
    samples = [
        sample_of(card, (family.ink, 0.8)),
        sample_of(card, (family.snow, 1.3), (family.ink, 0.5), seed=1),
        sample_of(card, seed=2),
        sample_of(card, (family.ink, 0.8), seed=3, strength=0.6),
    ]

    engine.submit(samples)
    wait([sample.done for sample in samples], SECONDS)

    sets = [{sample.key.loras for sample in together} for together, _ in recorder.forwards]
    assert {len(each) for each in sets} == {1}
    assert sum(a != b for a, b in pairwise(sets)) > 3, "they ran one after another"
    for sample in samples:
        assert difference(recorder.latents[sample][0], alone(card, sample)) <= EXACT
    assert torch.equal(recorder.latents[samples[2]], never_added)
    assert difference(recorder.latents[samples[0]], never_added) > 100 * EXACT


def test_a_file_of_kohyas_trainer_is_read_with_its_alpha(sd, pipeline, folder):
    card = save(folder, "kohya", kohya_layers(lora_layers(sd.parts, 5), alpha=2.0))
    sample = sample_of(sd.card, (card, 1.0))

    assert difference(latents(pipeline, sample)[0], alone(sd.card, sample)) <= EXACT


def test_only_samples_of_the_same_set_and_strengths_share_a_step(sd):
    def key(*weighted):
        return sample_of(sd.card, *weighted).key

    assert key((sd.ink, 1.0), (sd.snow, 0.5)) == key((sd.snow, 0.5), (sd.ink, 1.0))
    assert len({key(), key((sd.ink, 1.0)), key((sd.ink, 0.5)), key((sd.snow, 1.0))}) == 4


def test_a_prompt_is_encoded_again_for_a_lora_of_the_text_encoder_only(sd, pipeline):
    def embeddings(*weighted):
        sample = sample_of(sd.card, *weighted)
        pipeline.prepare(sample)
        pipeline.begin(sample)
        return sample.denoising.conditions.embeddings

    plain = embeddings()

    assert difference(embeddings((sd.ink, 1.0)), plain) > 100 * EXACT
    assert difference(embeddings((sd.ink, 0.5)), embeddings((sd.ink, 1.0))) > 100 * EXACT
    assert torch.equal(embeddings((sd.snow, 1.0)), plain)
    assert torch.equal(embeddings(), plain)


def adapters(pipeline):
    """Of every layer that has some."""
    parts = pipeline._pipeline._loras._parts.values()  # noqa: SLF001 (the bound is on device memory)
    layers = [layer for part in parts for layer in part.modules() if hasattr(layer, "lora_A")]
    return {name for layer in layers for name in layer.lora_A}


@pytest.fixture
def styles(sd, folder):
    unet = {"unet": sd.parts["unet"]}
    return [save(folder, f"style{n}", lora_layers(unet, n, ["to_q"])) for n in range(4)]


def test_beyond_the_bound_the_lora_that_rested_longest_leaves_but_none_that_runs(
    sd, pipeline, styles, make_engine, monkeypatch
):
    monkeypatch.setattr(loras, "LOADED_KEPT", 2)
    recorder, loaded = Recorder(pipeline), []
    recorder.before = lambda _: loaded.append(len(adapters(pipeline)))
    engine = make_engine(recorder)
    samples = [sample_of(sd.card, (card, 1.0)) for card in styles]

    engine.submit(samples)
    wait([sample.done for sample in samples], SECONDS)

    assert max(loaded) == len(styles)
    for again in samples[:2]:
        sample = sample_of(sd.card, *again.loras)
        assert torch.equal(latents(pipeline, sample), recorder.latents[again])
    latents(pipeline, sample_of(sd.card, (sd.snow, 1.0)))
    assert len(adapters(pipeline)) == 2


def test_within_the_bound_none_leaves(sd, pipeline, styles, monkeypatch):
    monkeypatch.setattr(loras, "LOADED_KEPT", 4)

    for card in styles:
        latents(pipeline, sample_of(sd.card, (card, 1.0), steps=1))

    assert len(adapters(pipeline)) == 4


def test_what_a_file_says_of_its_training_counts_as_far_as_its_strength_goes(
    sd, pipeline, styles, folder
):
    config = {"r": 4, "lora_alpha": 8, "target_modules": ["to_q"], "lora_dropout": 0.9}
    config |= {"init_lora_weights": "pissa"}
    said = {"lora_adapter_metadata": json.dumps({f"unet.{k}": v for k, v in config.items()})}
    layers = lora_layers({"unet": sd.parts["unet"]}, 0, ["to_q"])
    twice = save(folder, "twice", layers, metadata=said)

    by_file = latents(pipeline, sample_of(sd.card, (twice, 0.5)))

    assert torch.equal(by_file, latents(pipeline, sample_of(sd.card, (styles[0], 1.0))))
    assert torch.equal(
        latents(pipeline, sample_of(sd.card)), latents(load(sd.card, "cpu"), sample_of(sd.card))
    )


def spoilt(layers, **changes):
    """Layers with some replaced, or left out with None; `first` and `last` stand for their keys."""
    first, *_, last = layers
    changes = {{"first": first, "last": last}.get(key, key): t for key, t in changes.items()}
    return {key: tensor for key, tensor in (layers | changes).items() if tensor is not None}


UNFIT = {
    "no layers": (lambda layers: {}, "is empty"),
    "of another model": (lambda layers: {"unet.no.such.lora_A.weight": torch.ones(1)}, "not for"),
    "for a part that is not there": (
        lambda layers: {"text_encoder_9.q_proj.lora_A.weight": torch.ones(1)},
        "not for|cannot be read",
    ),
    "with half a layer": (lambda layers: spoilt(layers, last=None), "does not fit"),
    "of another width": (lambda layers: spoilt(layers, first=torch.ones(4, 3)), "does not fit"),
    "of another rank": (lambda layers: spoilt(layers, last=torch.ones(64, 9)), "does not fit"),
    "with other tensors": (
        lambda layers: spoilt(layers, **{"unet.conv_in.weight": torch.ones(1)}),
        "not for",
    ),
    "with infinities": (
        lambda layers: {key: tensor / 0.0 for key, tensor in layers.items()},
        "not all of it is numbers",
    ),
    "a DoRA": (
        lambda layers: spoilt(layers, **{"lora_unet_conv_in.dora_scale": torch.ones(1)}),
        "DoRA",
    ),
}


@pytest.mark.parametrize(("make", "reason"), UNFIT.values(), ids=UNFIT)
def test_a_file_that_does_not_fit_is_refused_before_the_model_is_touched(
    sd, demo, folder, make, reason
):
    card = save(folder, "unfit", make(lora_layers({"unet": sd.parts["unet"]}, 1)))

    with pytest.raises(BadInput, match=f"unfit.*({reason})|({reason})") as caught:
        demo.prepare(sample_of(sd.card, (card, 1.0)))

    assert str(folder) not in str(caught.value)


@pytest.mark.parametrize("data", [None, b"", b"PK\x03\x04 pickled", b"\xff" * 64])
def test_a_file_that_is_missing_or_no_safetensors_is_refused(sd, demo, tmp_path, data):
    card = AddOn(name="broken", family="sd", source=tmp_path / "broken.safetensors")
    if data is not None:
        card.source.write_bytes(data)

    with pytest.raises(BadInput, match="The LoRA broken cannot be read"):
        demo.prepare(sample_of(sd.card, (card, 1.0)))


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("the second part does not go in"), BadInput),
        (RuntimeError("size mismatch"), BadInput),
        (torch.OutOfMemoryError("CUDA out of memory"), DeviceMemoryFull),
    ],
)
def test_a_lora_that_goes_in_by_half_leaves_nothing_behind(
    sd, pipeline, monkeypatch, error, raised
):
    before = latents(pipeline, sample_of(sd.card, (sd.snow, 1.0)))
    plain = latents(pipeline, sample_of(sd.card))

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusionImg2ImgPipeline, "load_lora_into_text_encoder", fails)
        sample = sample_of(sd.card, (sd.ink, 1.0), (sd.snow, 1.0))
        pipeline.prepare(sample)
        with pytest.raises(raised):
            pipeline.begin(sample)

    assert len(adapters(pipeline)) == 1
    assert torch.equal(latents(pipeline, sample_of(sd.card)), plain)
    assert torch.equal(latents(pipeline, sample_of(sd.card, (sd.snow, 1.0))), before)
    assert difference(latents(pipeline, sample_of(sd.card, (sd.ink, 1.0))), plain) > 100 * EXACT


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_lora_that_cannot_be_put_in_fails_its_sample_and_no_other(
    sd, pipeline, folder, make_engine, part
):
    said = {"lora_adapter_metadata": json.dumps({f"{part}.r": 9, f"{part}.lora_alpha": 9})}
    card = save(folder, "lies", lora_layers({part: sd.parts[part]}, 1), metadata=said)
    engine = make_engine(pipeline)
    bad, good = sample_of(sd.card, (card, 1.0)), sample_of(sd.card)

    engine.submit([bad, good])
    failure = bad.done.exception(SECONDS)
    again = sample_of(sd.card, (card, 1.0))
    engine.submit([again])

    for each in (failure, again.done.exception(SECONDS)):
        assert isinstance(each, BadInput)
        assert str(each) == "The LoRA lies cannot be put into demo"
    assert good.done.result(SECONDS).steps == 4
    assert adapters(pipeline) == set()
