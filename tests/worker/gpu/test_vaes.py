"""The VAE that a request chose: for its own image alone, whoever shares the steps."""

import threading
from concurrent.futures import wait

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL
from safetensors.torch import load_file

from shared.add_ons import AddOn
from shared.errors import BadInput
from shared.models import ModelCard
from tests.worker.gpu.fakes import Recorder
from tests.worker.gpu.plain import (
    Plain,
    demo_sample,
    difference,
    final_latents,
    flux_sample,
    run,
)
from tests.worker.gpu.tiny_add_ons import ldm_names, save
from tests.worker.gpu.tiny_sd import make_vae
from worker.gpu.families import load
from worker.gpu.families.device import globals_guarded
from worker.gpu.families.vaes import FILES_KEPT

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 60
EXACT = 1e-5
WEIGHTS = "diffusion_pytorch_model.safetensors"


def settings(vae):
    """What another one is made with to be like it."""
    return {name: value for name, value in vae.config.items() if not name.startswith("_")}


def save_vae(folder, seed=5, **changes):
    """Another VAE than the demo model's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = make_vae()
        if changes:
            vae = AutoencoderKL(**settings(vae) | changes)
    vae.save_pretrained(folder, safe_serialization=True)
    return AddOn(name=folder.name, family="sd", source=folder)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return save_vae(tmp_path_factory.mktemp("vaes") / "vivid")


@pytest.fixture(scope="module")
def theirs(demo_folder, card):
    plain = Plain(demo_folder)
    plain.pipe.vae = AutoencoderKL.from_pretrained(card.source)
    return plain


def test_it_encodes_and_decodes_its_own_sample_in_a_batch_with_others(
    demo, demo_folder, card, theirs, make_engine
):
    recorder = Recorder(demo)
    engine = make_engine(recorder)
    chosen, own = demo_sample(vae=card), demo_sample()

    engine.submit([chosen, own])
    wait([chosen.done, own.done], SECONDS)

    assert [set(together) for together, _ in recorder.forwards] == [{chosen, own}] * 4
    for sample, plain in ((chosen, theirs), (own, Plain(demo_folder))):
        assert difference(recorder.latents[sample][0], plain.alone(sample)) <= EXACT
        expected = np.array(plain.alone(sample, output_type="pil")).astype(int)
        assert np.abs(sample.done.result().pixels - expected).max() <= 1


def test_it_keeps_its_values_when_a_model_is_loaded_meanwhile(demo, card):
    sample = demo_sample(vae=card)
    reading = threading.Thread(target=lambda: demo.prepare(sample))

    with globals_guarded():
        with init_empty_weights():
            reading.start()
            reading.join(0.5)
        reading.join(SECONDS)

    assert run(demo, sample).pixels.any()


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_a_single_file_in_the_old_naming_is_the_same_vae(demo, card, tmp_path, prefix):
    layers = load_file(card.source / WEIGHTS)
    renamed = {prefix + name: tensor for name, tensor in ldm_names(layers).items()}
    file = save(tmp_path, "old", renamed)

    pictures = [run(demo, demo_sample(vae=vae)).pixels for vae in (card, file)]

    assert np.array_equal(*pictures)


def test_a_single_file_in_the_new_naming_is_the_same_vae(demo, card):
    file = AddOn(name="file", family="sd", source=card.source / WEIGHTS)

    pictures = [run(demo, demo_sample(vae=vae)).pixels for vae in (card, file)]

    assert np.array_equal(*pictures)


def test_flux_shifts_its_latents_as_the_chosen_vae_does(flux, flux_cards, tmp_path):
    plain = Plain(flux_cards["dev"].source, "flux")
    config = settings(plain.pipe.vae) | {"shift_factor": 0.3, "scaling_factor": 0.5}
    vae = save_vae(tmp_path / "shifted", **config)
    sample = flux_sample(vae=vae)

    latents = final_latents(flux["dev"], sample)

    plain.pipe.vae = AutoencoderKL.from_pretrained(vae.source)
    assert difference(latents[0], plain.alone(sample)) <= EXACT


def test_it_runs_in_the_precision_of_the_model(demo_folder, card):
    ours = load(
        ModelCard(model_id="demo", family="sd", source=demo_folder, dtype="bfloat16"), "cpu"
    )
    sample = demo_sample(vae=card)

    run(ours, sample)

    assert sample.denoising.latents.dtype == torch.bfloat16


def test_a_vae_that_left_the_cache_stays_with_the_sample_that_waits_for_it(demo, tmp_path):
    first, *others = [save_vae(tmp_path / str(number)) for number in range(1 + FILES_KEPT)]
    sample = demo_sample(vae=first)
    demo.prepare(sample)
    for other in others:
        demo.prepare(demo_sample(vae=other))
    (first.source / WEIGHTS).unlink()

    with pytest.raises(BadInput):
        demo.prepare(demo_sample(vae=first))
    demo.begin(sample)

    assert sample.denoising is not None


@pytest.mark.parametrize(
    "changes", [{"latent_channels": 8}, {"shift_factor": 0.1}, {"latents_mean": [0.0] * 4}]
)
def test_a_vae_of_other_latents_is_refused(demo, tmp_path, changes):
    vae = save_vae(tmp_path / "other", **changes)

    with pytest.raises(BadInput, match="The VAE other does not fit demo: other latents"):
        demo.prepare(demo_sample(vae=vae))


@pytest.mark.parametrize("data", [None, b"", b"\xff" * 64])
def test_a_file_that_is_missing_or_no_safetensors_is_refused(demo, tmp_path, data):
    source = tmp_path / "broken.safetensors"
    if data is not None:
        source.write_bytes(data)

    with pytest.raises(BadInput, match="The VAE broken cannot be read"):
        demo.prepare(demo_sample(vae=AddOn(name="broken", family="sd", source=source)))


def test_a_file_of_something_else_is_refused(demo, tmp_path):
    card = save(tmp_path, "lora", {"unet.to_q.lora_A.weight": torch.ones(2, 2)})

    with pytest.raises(BadInput, match="The VAE lora cannot be read"):
        demo.prepare(demo_sample(vae=card))
