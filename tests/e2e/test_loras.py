"""A LoRA by its name, from the public request to the pixels."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.e2e.conftest import pixels

RANK = 4


@pytest.fixture(scope="module")
def ink(customer, models_dir):
    """A file that changes what every cross attention of the demo model looks for."""
    random, layers = np.random.default_rng(0), {}
    with safe_open(models_dir / "demo/unet/diffusion_pytorch_model.safetensors", "numpy") as file:
        for key in file.keys():  # noqa: SIM118 (it is no mapping)
            if key.endswith("attn2.to_q.weight"):
                out, into = file.get_slice(key).get_shape()
                name = f"unet.{key.removesuffix('.weight')}"
                layers[f"{name}.lora_A.weight"] = random.normal(size=(RANK, into))
                layers[f"{name}.lora_B.weight"] = random.normal(size=(out, RANK))
    layers = {key: layer.astype(np.float32) for key, layer in layers.items()}
    save_file(layers, models_dir / "ink.safetensors")
    return "ink"


def test_a_lora_changes_the_picture_of_its_own_request_and_no_other(customer, ink):
    fields = [{}, {"lora_model": ink}, {"lora": ink, "lora_strength": "0.4"}]

    plain, full, weak = (customer.post(**each) for each in fields)
    together = customer.post_all(fields)

    pictures = [customer.pngs(answer)[0] for answer in (plain, full, weak)]
    assert len({pixels(picture).tobytes() for picture in pictures}) == 3
    assert (full["meta"]["lora"], full["meta"]["lora_strength"]) == ("ink", 1)
    assert (weak["meta"]["lora"], weak["meta"]["lora_strength"]) == ("ink", 0.4)
    assert [customer.pngs(answer)[0] for answer in together] == pictures


def test_a_file_that_cannot_be_used_fails_its_job_with_the_reason(customer, models_dir):
    (models_dir / "torn.safetensors").write_bytes(b"half a file")

    answer = customer.post(lora_model="torn")

    assert (answer["status"], answer["message"]) == ("failed", "The LoRA torn cannot be read")
    assert customer.post()["status"] == "success"


def test_a_lora_that_is_not_listed_is_refused(customer):
    answer = customer.http.post("/api/v3/img2img", json=customer.body(lora_model="oil"))

    assert answer.status_code == 400
    assert "one of ink, torn" in answer.json()["message"]["lora_model"][0]
