"""Fetching models from a hub that is real but small: what arrives, and what is refused."""

import hashlib
import os
import shutil
import subprocess
import sys
import time

import huggingface_hub
import pytest

from infra.models import fetch as fetching
from infra.models.__main__ import main
from infra.models.fetch import FetchError, fetch
from infra.models.verify import problems
from shared.checkpoints import MANIFEST, Manifest
from shared.models import ModelCard, PromptEnhancer
from tests.infra.hub import REPOSITORY, REVISION, Hub
from tests.servers import Reply, http_server

INDEX = b"""{"_class_name": "StableDiffusionPipeline",
 "unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "PNDMScheduler"],
 "tokenizer": ["transformers", "CLIPTokenizer"], "safety_checker": ["x", "SafetyChecker"],
 "feature_extractor": [null, null], "requires_safety_checker": true}"""
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
NEEDED = {
    "model_index.json": INDEX,
    "unet/config.json": b"{}",
    WEIGHTS: bytes(range(256)) * 400,
    "scheduler/scheduler_config.json": b"{}",
    "tokenizer/vocab.json": b"{}",
    "tokenizer/merges.txt": b"#",
    "safety_checker/model.safetensors": b"judges pictures",
}
NOT_NEEDED = {
    "unet/diffusion_pytorch_model.bin": b"a pickle",
    "unet/diffusion_pytorch_model.fp16.safetensors": b"a variant",
    "vae_1_0/diffusion_pytorch_model.safetensors": b"no part of the model",
    "v1-5-pruned.ckpt": b"a pickle",
    "v1-5-pruned.safetensors": b"the same again in one file",
    "unet/flax_model.msgpack": b"of another library",
    "unet/code.py": b"raise SystemExit",
    "README.md": b"# Tiny",
}


@pytest.fixture
def hub(monkeypatch, impatient):
    hub = Hub(NEEDED | NOT_NEEDED)
    with http_server(hub) as server:
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        hub.url = server.url
        yield hub


@pytest.fixture
def impatient(monkeypatch):
    """The hub's client waits between its tries."""
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def card(tmp_path) -> ModelCard:
    return tiny().beneath(tmp_path)


def tiny(**changes) -> ModelCard:
    entry = {"model_id": "tiny", "family": "sd", "hub": REPOSITORY, "revision": REVISION}
    return ModelCard.model_validate(entry | changes)


def files(folder) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_what_is_needed_arrives_and_nothing_else(hub, card):
    assert fetch(card)

    there = files(card.source)
    assert there.pop(MANIFEST).decode() == Manifest.read(card.source).text
    assert there == NEEDED
    assert {path for path, _ in hub.downloads} == set(NEEDED)
    assert [path.name for path in card.source.parent.iterdir()] == ["tiny"]


def test_what_was_fetched_is_not_fetched_again(hub, card):
    fetch(card)
    hub.downloads.clear()

    assert not fetch(card)

    assert hub.downloads == []


def test_another_revision_replaces_the_folder(hub, card):
    fetch(card)
    old = Manifest("org/tiny@old", {})
    (card.source / MANIFEST).write_text(old.text)
    (card.source / "left_over").touch()

    assert fetch(card)

    assert set(files(card.source)) == {*NEEDED, MANIFEST}


def test_a_folder_of_somebody_else_is_not_replaced(hub, card):
    card.source.mkdir()
    (card.source / "thesis.txt").write_text("mine")

    with pytest.raises(FetchError, match=r"tiny: .* is not ours to replace"):
        fetch(card)

    assert set(files(card.source)) == {"thesis.txt"}


def test_the_manifest_is_what_sha256sum_reads(hub, card):
    fetch(card)

    subprocess.run(["sha256sum", "--check", "--quiet", MANIFEST], cwd=card.source, check=True)


@pytest.mark.parametrize("path", [WEIGHTS, "unet/config.json"])
def test_a_damaged_file_is_refused_and_then_fetched_again(hub, card, path):
    damaged = NEEDED[path][:-1] + b"?"
    hub.instead = lambda request, asked: Reply(body=damaged) if asked == path else None

    with pytest.raises(FetchError, match=f"tiny: {path} is damaged"):
        fetch(card)

    assert not card.source.exists()
    hub.instead = lambda request, asked: None
    hub.downloads.clear()
    assert fetch(card)
    assert {asked for asked, _ in hub.downloads} == {path}
    assert files(card.source)[path] == NEEDED[path]


def test_a_download_whose_connection_breaks_goes_on_where_it_stopped(hub, card, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    hub.instead = break_off_at_half

    assert fetch(card)

    half = len(NEEDED[WEIGHTS]) // 2
    assert [asked for asked in hub.downloads if asked[0] == WEIGHTS] == [
        (WEIGHTS, None),
        (WEIGHTS, f"bytes={half}-"),
    ]
    assert files(card.source)[WEIGHTS] == NEEDED[WEIGHTS]


def test_after_an_interruption_only_the_missing_files_are_fetched(hub, card):
    hub.instead = lambda request, path: Reply(400) if path == WEIGHTS else None
    with pytest.raises(FetchError, match=r"tiny: .*; complete files are kept, fetch again"):
        fetch(card)
    assert not card.source.exists()
    hub.instead = lambda request, path: None
    hub.downloads.clear()

    assert fetch(card)

    assert {path for path, _ in hub.downloads} >= {WEIGHTS}
    assert len(hub.downloads) < len(NEEDED)
    assert {path: data for path, data in files(card.source).items() if path in NEEDED} == NEEDED


def break_off_at_half(request, path):
    if path != WEIGHTS or "range" in request.headers:
        return None
    data = NEEDED[WEIGHTS]
    return Reply(body=data[: len(data) // 2], headers={"Content-Length": str(len(data))})


def test_two_at_once_do_not_mix(hub, card):
    def meanwhile(request, asked):
        hub.instead = lambda request, asked: None
        with pytest.raises(FetchError, match="tiny: another process is fetching it"):
            fetch(card)

    hub.instead = meanwhile

    assert fetch(card)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"revision": "f" * 40}, f"tiny: revision: org/tiny has no commit {'f' * 40}"),
        ({"hub": "org/other"}, "tiny: hub: no repository org/other"),
        ({"sha256": "0" * 64}, "tiny: sha256: the models file pins 000"),
    ],
)
def test_a_wrong_entry_is_named(hub, tmp_path, changes, words):
    with pytest.raises(FetchError, match=words):
        fetch(tiny(**changes).beneath(tmp_path))

    assert not (tmp_path / "tiny").exists()


def test_a_part_without_safetensors_is_refused_before_anything_large_is_fetched(hub, card):
    del hub.files[WEIGHTS]

    with pytest.raises(FetchError, match="tiny: org/tiny has no safetensors for the unet"):
        fetch(card)

    assert {path for path, _ in hub.downloads} == {"model_index.json"}


def test_a_repository_of_another_kind_is_refused(hub, card):
    del hub.files["model_index.json"]

    with pytest.raises(FetchError, match="it is not a diffusers repository"):
        fetch(card)


def test_a_disk_without_room_is_found_out_before_the_download(hub, card, monkeypatch):
    usage = shutil.disk_usage(card.source.parent)._replace(free=1000)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: usage)

    with pytest.raises(FetchError, match=r"tiny: needs 102,\d\d\d bytes more, .* has 1,000"):
        fetch(card)

    assert {path for path, _ in hub.downloads} == {"model_index.json"}


def test_a_hub_that_is_away_is_said_so(card, monkeypatch, impatient):
    with http_server(lambda request: Reply()) as gone:
        pass
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", gone.url)

    with pytest.raises(FetchError, match=r"tiny: .*; complete files are kept, fetch again"):
        fetch(card)


def test_a_model_without_a_hub_cannot_be_fetched(tmp_path):
    card = ModelCard(model_id="mine", family="sd", source=tmp_path / "mine")

    with pytest.raises(FetchError, match="mine: has no `hub`"):
        fetch(card)


def test_files_that_changed_or_went_are_found(hub, card):
    fetch(card)
    assert problems(card) == []
    (card.source / WEIGHTS).write_bytes(b"?")
    (card.source / "unet/config.json").unlink()
    (card.source / "unet/model.bin").touch()

    found = problems(card)

    assert found == [
        "unet/model.bin is a pickle",
        "unet/config.json is missing",
        f"{WEIGHTS} is not what was fetched",
    ]


def test_a_single_file_is_compared_with_its_pin(tmp_path):
    path = tmp_path / "one.safetensors"
    path.write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    entry = {"model_id": "one", "family": "sd", "source": path, "config": tmp_path}

    assert problems(ModelCard(**entry, sha256=right)) == []
    assert problems(ModelCard(**entry, sha256="9" * 64)) == [
        f"sha256: the models file pins {'9' * 64}, it is {right}"
    ]


MODELS = f"""
models:
  mine: {{family: sd, source: mine}}
  tiny: {{family: sd, hub: {REPOSITORY}, revision: {REVISION}}}
"""


@pytest.fixture
def command(hub, tmp_path):
    (tmp_path / "models.yaml").write_text(MODELS)
    environment = os.environ | {  # noqa: TID251 (handed on)
        "HF_ENDPOINT": hub.url,
        "IMG2IMG_MODELS_FILE": str(tmp_path / "models.yaml"),
        "IMG2IMG_MODELS_DIR": str(tmp_path / "models"),
    }

    def run(*arguments: str, **more: str):
        return subprocess.run(
            [sys.executable, "-m", "infra.models", *arguments],
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_the_command_fetches_what_has_a_hub_and_verifies_it(command, tmp_path):
    fetched = command("fetch")
    verified = command("verify", "tiny")
    listed = command("list")

    digest = Manifest.read(tmp_path / "models/tiny").digest
    assert fetched.stdout == f"tiny: fetched, sha256: {digest}\n"
    assert verified.stdout == "tiny: as fetched and pinned\n"
    assert [line.split()[:3] for line in listed.stdout.splitlines()] == [
        ["mine", "sd", "missing"],
        ["tiny", "sd", "here"],
    ]
    assert fetched.returncode == verified.returncode == listed.returncode == 0


def test_the_command_says_what_is_wrong_in_a_line(command):
    offline = command("fetch", HF_HUB_OFFLINE="1")

    assert offline.stderr.splitlines()[-1] == "error: tiny: HF_HUB_OFFLINE is set"
    assert offline.returncode == 1


def test_an_unknown_id_is_answered_with_the_known_ones(monkeypatch, capsys, tmp_path):
    (tmp_path / "models.yaml").write_text(MODELS)
    monkeypatch.setenv("IMG2IMG_MODELS_FILE", str(tmp_path / "models.yaml"))

    assert main(["fetch", "nope"]) == 1

    assert capsys.readouterr().err == "error: no model nope in the models file: mine, tiny\n"


def test_a_text_model_is_fetched_from_the_top_of_its_repository(hub, tmp_path):
    needed = {
        "config.json": b"{}",
        "model.safetensors": bytes(range(256)),
        "vocab.json": b"{}",
        "merges.txt": b"#",
    }
    others = {"pytorch_model.bin": b"a pickle", "onnx/model.onnx": b"of another library"}
    hub.files = needed | others
    enhancer = PromptEnhancer(source=tmp_path / "text").model_copy(
        update={"hub": REPOSITORY, "revision": REVISION}
    )

    assert fetch(enhancer)

    assert set(files(enhancer.source)) == {*needed, MANIFEST}
    assert problems(enhancer) == []


def test_a_text_model_without_safetensors_is_refused(hub, tmp_path):
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b"a pickle"}
    enhancer = PromptEnhancer(source=tmp_path / "text").model_copy(
        update={"hub": REPOSITORY, "revision": REVISION}
    )

    with pytest.raises(FetchError, match="org/tiny has no safetensors for the text model"):
        fetch(enhancer)


def test_the_command_knows_the_text_model(tmp_path, monkeypatch, capsys):
    models = tmp_path / "models.yaml"
    models.write_text("models: {}\nprompt_enhancer: {source: text}")
    monkeypatch.setenv("IMG2IMG_MODELS_FILE", str(models))
    monkeypatch.setenv("IMG2IMG_MODELS_DIR", str(tmp_path))

    assert main(["list"]) == 0

    assert capsys.readouterr().out.split()[:3] == ["prompt_enhancer", "text", "missing"]
