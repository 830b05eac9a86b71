"""What is handed out in place of an unsafe picture."""

from typing import get_args

import numpy as np
import pytest
from PIL import Image

from shared.jobs import Cover
from tests.worker.gpu.pictures import noise, photo
from worker.gpu.censor import censor

COVERS = get_args(Cover)
SIZES = [(512, 512), (64, 64), (1024, 64), (64, 1024), (96, 320)]


@pytest.mark.parametrize("cover", COVERS)
@pytest.mark.parametrize("size", SIZES)
def test_it_has_the_size_of_the_picture(cover, size):
    pixels = np.asarray(noise(size))

    covered = censor(pixels, cover)

    assert (covered.shape, covered.dtype) == (pixels.shape, pixels.dtype)
    assert not np.array_equal(covered, pixels)


@pytest.mark.parametrize("cover", ["sensitive_content_text", "black"])
def test_a_sign_and_black_owe_nothing_to_the_picture(cover):
    one, other = (censor(np.asarray(picture((256, 128))), cover) for picture in (noise, photo))

    assert np.array_equal(one, other)


@pytest.mark.parametrize("size", SIZES)
def test_the_text_fits_with_a_margin_on_every_side(size):
    sign = censor(np.asarray(photo(size)), "sensitive_content_text")

    rows, columns = np.nonzero(sign[..., 0] != sign[0, 0, 0])
    margin = 0.05
    assert sign.max() > 200
    for at, side in ((rows, size[1]), (columns, size[0])):
        assert margin * side < at.min() <= at.max() < (1 - margin) * side


def test_black_is_black():
    assert not censor(np.asarray(photo()), "black").any()


@pytest.mark.parametrize("cover", ["blur", "pixelate"])
def test_details_of_a_twentieth_of_the_picture_are_gone_and_its_colours_stay(cover):
    side, detail = 480, 24
    board = (np.indices((side, side)) // detail).sum(axis=0) % 2 * 255
    pixels = np.stack([board, board * 0 + 200, board * 0], axis=-1).astype(np.uint8)

    covered = censor(pixels, cover).astype(float)

    inner = covered[side // 5 : -side // 5, side // 5 : -side // 5]
    assert np.ptp(inner[..., 0]) < 255 * 0.35
    assert inner.mean(axis=(0, 1)) == pytest.approx([127.5, 200, 0], abs=8)


def test_a_mosaic_has_twelve_blocks_on_the_longer_side():
    mosaic = Image.fromarray(censor(np.asarray(noise((480, 240))), "pixelate"))

    assert len(mosaic.getcolors(maxcolors=10_000)) <= 12 * 6
