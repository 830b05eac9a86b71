"""Images to latents and back when memory or half precision does not do."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from shared.errors import NoPicture
from tests.worker.gpu.fakes import make_sample
from tests.worker.gpu.plain import picture
from tests.worker.gpu.vaes import encode
from worker.gpu.families import DeviceMemoryFull
from worker.gpu.families.device import on_device
from worker.gpu.families.vae import IN_FLOAT32, TILED, Vae

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")


def decode(vae, latents, sample):
    return on_device(vae.decode, latents, sample)


def spoil(model, is_bad, result):
    """The decoder gives `result` wherever its input, (1, 4, h, w), is bad."""
    forward = AutoencoderKL.decode

    def decode(latents, **options):
        decoded = forward(model, latents, **options)
        if is_bad(latents):
            decoded.sample = torch.full_like(decoded.sample, result)
        return decoded

    model.decode = decode


def in_half(latents):
    return latents.dtype == torch.float16


def tile_settings(model):
    return model.use_tiling, model.tile_sample_min_size, model.tile_latent_min_size


@contextmanager
def memory_for(model, side):
    """Neither half of the VAE takes a picture larger than this, in pixels."""

    def check(module, args):
        pixels = args[0].shape[-1] * (8 if module is model.decoder else 1)
        if pixels > side:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hooks = [part.register_forward_pre_hook(check) for part in (model.encoder, model.decoder)]
    yield
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("side", [128, 136, 256])
def test_what_does_not_fit_is_encoded_and_decoded_in_tiles_and_says_so(vae_model, side):
    vae, sample = Vae(vae_model), make_sample(image=picture(1, side))
    whole = encode(vae, sample)
    pixels = decode(vae, whole, sample)
    tight = Vae(vae_model)

    with memory_for(vae_model, side=-(-side // 64) * 32):
        tiled = encode(tight, sample)
        tiled_pixels = decode(tight, whole, sample)

    assert sample.degraded == {TILED}
    assert tiled.shape == whole.shape
    assert tiled_pixels.shape == pixels.shape
    assert torch.corrcoef(torch.stack([tiled.flatten(), whole.flatten()]))[0, 1] > 0.5
    assert np.abs(tiled_pixels.astype(int) - pixels).mean() < 32


def test_tiles_are_for_the_one_call_that_needed_them(vae_model):
    vae, sample = Vae(vae_model), make_sample(image=picture(1, 128))
    before = encode(vae, sample)
    settings = tile_settings(vae_model)

    with memory_for(vae_model, 64):
        decode(vae, before, sample)

    assert tile_settings(vae_model) == settings
    later = make_sample(image=picture(1, 128))
    assert torch.equal(encode(Vae(vae_model), later), before)
    assert later.degraded == set()


def test_an_image_encoded_in_tiles_is_not_kept_for_others(vae_model):
    vae = Vae(vae_model)
    with memory_for(vae_model, 64):
        encode(vae, make_sample(image=picture(1, 128)))

    later = make_sample(image=picture(1, 128))

    assert torch.equal(encode(vae, later), encode(Vae(vae_model), later))


def test_what_does_not_fit_in_tiles_either_is_out_of_memory(vae_model):
    vae = Vae(vae_model)

    with memory_for(vae_model, 8), pytest.raises(DeviceMemoryFull):
        encode(vae, make_sample())

    assert not vae_model.use_tiling


def test_a_strict_sample_is_never_tiled(vae_model):
    vae, sample = Vae(vae_model), make_sample(strict=True, image=picture(1, 128))
    latents = encode(vae, sample)

    with memory_for(vae_model, 64):
        with pytest.raises(DeviceMemoryFull):
            decode(vae, latents, sample)
        with pytest.raises(DeviceMemoryFull):
            encode(Vae(vae_model), sample)

    assert sample.degraded == set()


@pytest.mark.parametrize("result", [torch.nan, torch.inf, -1.0])
def test_what_half_precision_spoils_or_blackens_is_decoded_again_in_float32(vae_model, result):
    full, sample = Vae(vae_model), make_sample(image=picture(1))
    latents = encode(full, sample).half()
    expected = decode(full, latents.float(), sample)
    half = Vae(vae_model.half())
    before = [(parameter, parameter.data_ptr()) for parameter in vae_model.parameters()]
    spoil(vae_model, in_half, result)

    pixels = decode(half, latents, sample)

    assert np.abs(pixels.astype(int) - expected).max() <= 2  # the weights were rounded to half
    assert sample.degraded == {IN_FLOAT32}
    assert [(p, p.data_ptr()) for p in vae_model.parameters()] == before
    assert {p.dtype for p in vae_model.parameters()} == {torch.float16}


def test_a_decoder_that_overflows_in_half_precision_alone_is_noticed(vae_model):
    sample = make_sample(image=picture(1))
    latents = encode(Vae(vae_model), sample).half()
    with torch.no_grad():
        vae_model.decoder.conv_in.weight *= 2e5 / vae_model.decoder.conv_in.weight.abs().max() / 4
    half = Vae(vae_model.half())

    pixels = decode(half, latents, sample)

    assert pixels.any()
    assert sample.degraded == {IN_FLOAT32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_picture_that_is_black_in_float32_too_is_black(vae_model, dtype):
    latents = encode(Vae(vae_model), make_sample()).to(dtype)
    vae = Vae(vae_model.to(dtype))
    spoil(vae_model, lambda latents: True, -1.0)

    assert not decode(vae, latents, make_sample()).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_decoder_that_overflows_in_float32_too_makes_no_picture(vae_model, dtype):
    latents = encode(Vae(vae_model), make_sample()).to(dtype)
    vae = Vae(vae_model.to(dtype))
    spoil(vae_model, lambda latents: True, torch.nan)

    with pytest.raises(NoPicture, match="overflows"):
        decode(vae, latents, make_sample())


def test_latents_that_are_no_numbers_make_no_picture_and_are_decoded_once(vae_model):
    calls = []
    spoil(vae_model, calls.append, 0)
    latents = torch.full((1, 4, 8, 8), torch.nan, dtype=torch.float16)

    with pytest.raises(NoPicture, match="latents"):
        decode(Vae(vae_model.half()), latents, make_sample())

    assert len(calls) == 1


def test_decoding_in_float32_and_in_tiles_can_both_be_needed(vae_model):
    sample = make_sample(image=picture(1, 128))
    latents = encode(Vae(vae_model), sample).half()
    half = Vae(vae_model.half())
    spoil(vae_model, in_half, torch.nan)

    with memory_for(vae_model, 64):
        assert decode(half, latents, sample).any()

    assert sample.degraded == {IN_FLOAT32, TILED}


def test_a_vae_without_its_convolutions_next_to_the_latents_is_decoded_in_float32_too(vae_model):
    config = {**vae_model.config, "use_quant_conv": False, "use_post_quant_conv": False}
    bare = AutoencoderKL.from_config(config).half()
    spoil(bare, in_half, torch.nan)
    latents, sample = torch.randn(1, 4, 8, 8).half(), make_sample()

    decode(Vae(bare), latents, sample)

    assert sample.degraded == {IN_FLOAT32}
