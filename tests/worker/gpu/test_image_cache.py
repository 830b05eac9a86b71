"""Encoded images that are kept: the same bits, encoded once."""

import pytest
import torch

from tests.worker.gpu.fakes import make_sample
from tests.worker.gpu.plain import half_mask, picture
from tests.worker.gpu.vaes import encode
from worker.gpu.families.vae import Vae

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")


def test_samples_of_one_image_encode_it_once_and_draw_for_themselves(vae_model):
    vae, encodings = Vae(vae_model), []
    vae_model.encoder.register_forward_pre_hook(lambda *_: encodings.append(1))
    samples = [make_sample(image=picture(1)), make_sample(image=picture(1).copy())]

    kept = [encode(vae, sample, seed) for seed, sample in enumerate(samples)]
    count = len(encodings)

    anew = [encode(Vae(vae_model), sample, seed) for seed, sample in enumerate(samples)]
    assert count == 1
    assert all(torch.equal(*pair) for pair in zip(kept, anew, strict=True))
    assert [tensor.stride() for tensor in kept] == [tensor.stride() for tensor in anew]


@pytest.mark.parametrize(
    "another",
    [
        {"image": picture(2)},
        {"image": picture(1)[:32]},
        {"image": picture(1, 32).reshape(16, 64, 3)},
    ],
    ids=["other pixels", "another size", "another shape of the same bytes"],
)
def test_another_image_is_encoded_itself(vae_model, another):
    vae = Vae(vae_model)
    encode(vae, make_sample(image=picture(1)))
    encode(vae, make_sample(image=picture(1, 32)))
    sample = make_sample(**another)

    assert torch.equal(encode(vae, sample), encode(Vae(vae_model), sample))


def test_what_a_mask_leaves_of_an_image_is_kept_apart_from_the_image(vae_model):
    vae, encodings = Vae(vae_model), []
    vae_model.encoder.register_forward_pre_hook(lambda *_: encodings.append(1))
    image, mask, another = picture(1), half_mask(), half_mask().T.copy()

    def latents(vae, mask, kind):
        return encode(vae, make_sample(image=image, mask=mask), kind=kind)

    asked = [(m, kind) for m in (mask, another) for kind in ("encode", "encode_kept")] * 2
    kept = [latents(vae, *each) for each in asked]
    count = len(encodings)

    assert count == 3
    assert all(
        torch.equal(ours, latents(Vae(vae_model), *each))
        for ours, each in zip(kept, asked, strict=True)
    )


def test_the_images_kept_stay_below_their_limit_in_bytes(vae_model):
    image_bytes = (
        3 * 4 * 8 * 8 * 4
    )  # the parameters, mean and log of the variance, and the deviation
    vae, encodings = Vae(vae_model, image_cache=2 * image_bytes), []
    vae_model.encoder.register_forward_pre_hook(lambda *_: encodings.append(1))

    for seed in (1, 2, 3, 2, 3, 1):
        encode(vae, make_sample(image=picture(seed)))

    assert len(encodings) == 4
