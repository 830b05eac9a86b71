"""Where weights are read from, what equal parts cost, and that nothing is ever fetched."""

import os
import shutil
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights

from shared.checkpoints import MANIFEST, Manifest
from shared.models import ModelCard
from tests.worker.gpu.fakes import make_sample
from tests.worker.gpu.plain import picture, run
from tests.worker.gpu.single_file import save_configs, save_single_file
from tests.worker.gpu.tiny_flux import build_flux
from tests.worker.gpu.tiny_models import save_sdxl
from tests.worker.gpu.tiny_sd import make_unet
from worker.gpu.families import load
from worker.gpu.families.device import globals_guarded, on_device
from worker.gpu.families.memory import DeviceMemory
from worker.gpu.families.weights import alive

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"a worker dialled {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def single_file(demo_folder, tmp_path_factory) -> ModelCard:
    folder = tmp_path_factory.mktemp("single")
    save_single_file(demo_folder, folder / "one.safetensors")
    save_configs(demo_folder, folder / "configs")
    return a_card("one", folder / "one.safetensors", config=folder / "configs")


def a_card(model_id, source, **changes) -> ModelCard:
    return ModelCard(model_id=model_id, family="sd", source=source, **changes)


def paint(pipeline):
    sample = make_sample(image=picture(1), steps=2, strength=1.0, guidance_scale=3.0)
    return run(pipeline, sample).pixels


def test_a_single_file_makes_the_pictures_of_its_diffusers_folder(single_file, demo):
    np.testing.assert_array_equal(paint(load(single_file, "cpu")), paint(demo))


def test_a_single_file_takes_what_its_tensors_take(single_file, demo_card):
    memory = DeviceMemory("cpu")
    half = single_file.model_copy(update={"model_id": "half", "dtype": "bfloat16"})

    pipeline = load(half, "cpu")

    assert memory.held(["half"]) == pytest.approx(memory.needs(half), rel=0.001)
    assert memory.needs(half) * 2 == memory.needs(single_file) == memory.needs(demo_card)
    assert pipeline.card is half


def test_a_missing_file_or_config_is_named(single_file, tmp_path):
    shutil.copytree(single_file.config, tmp_path / "configs")
    shutil.rmtree(tmp_path / "configs/tokenizer")

    def refusal(**changes):
        with pytest.raises(FileNotFoundError) as caught:
            load(single_file.model_copy(update=changes), "cpu")
        return str(caught.value)

    assert refusal(source=tmp_path / "x.safetensors").startswith("one: source: no file")
    assert refusal(config=tmp_path).startswith("one: config: no model_index.json in")
    assert refusal(config=tmp_path / "configs").startswith("one: config: no tokenizer/*.json in")


def test_pickles_beside_the_configs_are_refused(single_file, tmp_path):
    shutil.copytree(single_file.config, tmp_path / "configs")
    (tmp_path / "configs/text_encoder/pytorch_model.bin").write_bytes(b"a pickle")

    with pytest.raises(ValueError, match=r"one: config: .*pytorch_model.bin is a pickle"):
        load(single_file.model_copy(update={"config": tmp_path / "configs"}), "cpu")


def test_a_folder_of_pickles_is_not_read(demo_folder, tmp_path):
    shutil.copytree(demo_folder, tmp_path / "old")
    weights = tmp_path / "old/unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))

    with pytest.raises(OSError, match="safetensors"):
        load(a_card("old", tmp_path / "old"), "cpu")


def test_a_hub_model_that_was_not_fetched_is_told_how_to_be(tmp_path):
    card = a_card("far", "far", hub="org/far", revision=COMMIT).beneath(tmp_path)

    with pytest.raises(FileNotFoundError, match=r"far: source: no folder .*make models .*far"):
        load(card, "cpu")


def test_a_hub_model_of_another_revision_is_refused(demo_folder, tmp_path):
    shutil.copytree(demo_folder, tmp_path / "far")
    card = a_card("far", "far", hub="org/far", revision=COMMIT).beneath(tmp_path)
    (card.source / MANIFEST).write_text(Manifest("org/far@older", {}).text)
    with pytest.raises(FileNotFoundError, match="is org/far@older, not org/far@0123"):
        load(card, "cpu")

    (card.source / MANIFEST).write_text(Manifest(card.origin, {}).text)

    assert load(card, "cpu").card is card


def test_the_libraries_of_a_worker_are_told_to_stay_offline():
    program = (
        "import runpy, types, worker.gpu.app as app\n"
        "app.create_worker = lambda settings: types.SimpleNamespace(run=lambda: None)\n"
        "runpy.run_module('worker.gpu', run_name='__main__')\n"
        "from huggingface_hub import constants\n"
        "print(constants.HF_HUB_OFFLINE)"
    )
    environment = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}  # noqa: TID251 (handed on)

    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, check=True
    )

    assert ran.stdout == b"True\n"


@pytest.fixture
def another(demo_folder, tmp_path) -> ModelCard:
    """The demo model's VAE and text encoder with another UNet, as models of one base have it."""
    shutil.copytree(demo_folder, tmp_path / "another")
    torch.manual_seed(3)
    make_unet().save_pretrained(tmp_path / "another/unet")
    return a_card("another", tmp_path / "another")


def modules(model_id):
    return {type(module).__name__: module for _, module in alive([model_id])}


def test_equal_parts_are_loaded_once_and_counted_once(demo_folder, another):
    memory = DeviceMemory("cpu")
    base = a_card("base", demo_folder)
    first = load(base, "cpu")
    adds = memory.would_add(another)

    second = load(another, "cpu")

    mine, theirs = modules("base"), modules("another")
    assert mine["AutoencoderKL"] is theirs["AutoencoderKL"]
    assert mine["CLIPTextModel"] is not theirs["CLIPTextModel"]  # it may be given LoRAs
    assert mine["UNet2DConditionModel"] is not theirs["UNet2DConditionModel"]
    both = memory.held(["base", "another"])
    assert both - memory.held(["base"]) == pytest.approx(adds, rel=0.001)
    assert adds < memory.needs(another)
    np.testing.assert_array_equal(paint(first), paint(load(a_card("again", demo_folder), "cpu")))
    assert second.card is another


def test_a_shared_part_goes_with_the_last_model_that_has_it(demo_folder, another):
    memory = DeviceMemory("cpu")
    first = load(a_card("first", demo_folder, dtype="float16"), "cpu")
    changes = {"model_id": "second", "dtype": "float16"}
    second = load(another.model_copy(update=changes), "cpu")
    both = ["first", "second"]
    needed = memory.held(["second"])
    assert memory.held(both) > needed

    del first
    memory.give_back()
    assert memory.held(both) == needed
    del second
    memory.give_back()

    assert memory.held(both) == 0


def test_another_dtype_is_another_part(demo_folder):
    kept = load(a_card("base", demo_folder), "cpu")
    half = load(a_card("half", demo_folder, dtype="bfloat16"), "cpu")

    assert modules("base")["AutoencoderKL"] is not modules("half")["AutoencoderKL"]
    assert kept.card.dtype != half.card.dtype


@pytest.mark.parametrize(("dtype", "shared"), [("float32", True), ("bfloat16", False)])
def test_the_vae_of_xl_is_shared_only_where_it_is_left_as_it_is(tmp_path, dtype, shared):
    folders = [save_sdxl(tmp_path / name) for name in ("a", "b")]
    cards = [
        ModelCard(model_id=f"xl-{n}", family="sdxl", source=folder, dtype=dtype)
        for n, folder in enumerate(folders)
    ]

    pipelines = [load(card, "cpu") for card in cards]

    first, second = modules("xl-0"), modules("xl-1")
    assert (first["AutoencoderKL"] is second["AutoencoderKL"]) == shared
    assert len(pipelines) == 2


def test_models_of_flux_share_their_largest_text_encoder(tmp_path):
    folders = {kind: build_flux(tmp_path / kind, kind=kind) for kind in ("dev", "schnell")}
    shutil.rmtree(folders["schnell"] / "text_encoder_2")
    shutil.copytree(folders["dev"] / "text_encoder_2", folders["schnell"] / "text_encoder_2")
    flux = {"family": "flux", "limits": {"multiple": 16}, "dtype": "bfloat16"}
    cards = [ModelCard(model_id=f"{n}-2", source=path, **flux) for n, path in folders.items()]

    pipelines = [load(card, "cpu") for card in cards]

    assert modules("dev-2")["T5EncoderModel"] is modules("schnell-2")["T5EncoderModel"]
    assert modules("dev-2")["CLIPTextModel"] is not modules("schnell-2")["CLIPTextModel"]
    assert len(pipelines) == 2


def test_device_work_waits_while_a_loader_has_changed_the_default_dtype():
    seen = []
    work = threading.Thread(target=lambda: seen.append(on_device(torch.get_default_dtype)))

    with globals_guarded():
        torch.set_default_dtype(torch.bfloat16)
        work.start()
        work.join(0.05)
        torch.set_default_dtype(torch.float32)
        work.join(10)

    assert seen == [torch.float32]


def test_device_work_waits_while_a_loader_makes_modules_empty():
    made = []
    work = threading.Thread(target=lambda: made.append(on_device(torch.nn.Linear, 1, 1)))

    with globals_guarded():
        with init_empty_weights():
            work.start()
            work.join(0.05)
        work.join(10)

    assert [linear.weight.is_meta for linear in made] == [False]


def test_a_loader_that_fails_leaves_the_default_dtype_as_it_was():
    with pytest.raises(OSError), globals_guarded():  # noqa: PT011, PT012
        torch.set_default_dtype(torch.bfloat16)
        raise OSError

    assert on_device(torch.get_default_dtype) is torch.float32


def test_steps_beside_a_load_see_the_usual_default_dtype(tmp_path):
    folder = build_flux(tmp_path / "flux", kind="schnell")  # parts of diffusers and transformers
    flux = {"family": "flux", "limits": {"multiple": 16}, "dtype": "bfloat16"}
    card = ModelCard(model_id="beside", source=folder, **flux)
    loaded = threading.Event()
    seen = set()

    def step():
        while not loaded.is_set():
            seen.add(on_device(torch.get_default_dtype))

    stepping = threading.Thread(target=step)
    stepping.start()
    load(card, "cpu")
    loaded.set()
    stepping.join(10)

    assert seen == {torch.float32}
