"""The two clients of the first years: one built-in address, parameters in the query string.

While a picture is processing they sleep for its `eta` and ask once.
"""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.clients.conftest import BUILT_IN_NAME, run

PROGRAM = Path(__file__).with_name("first_client.py")
TEXT2IMG = "StableDiffusionAPI.Text2Img", "Text2Img"
COMMUNITY = "StableDiffusionAPI.Community", "Text2Img"


@pytest.fixture(params=["patient_door", "hurried_door"])
def door(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def painted(client, tmp_path):
    """The size of the picture that a call of a client leaves behind."""

    def painted(pin, door, function, *arguments, key=()):
        program = [sys.executable, "-P", str(PROGRAM), BUILT_IN_NAME, str(door.port), *function]
        arguments = json.dumps([*arguments, "out.png"])
        environment = door.trust | {"PYTHONPATH": str(client(pin))}
        # An eta holds for nearly every job, not for each: who asks but once may have to come again.
        for _ in range(3):
            said = run([*program, arguments, *key], tmp_path, **environment)
            if (tmp_path / "out.png").exists():
                break
        else:
            pytest.fail(said)
        with Image.open(tmp_path / "out.png") as image:
            return image.size

    return painted


def test_stablediffusionapi_paints_from_a_text(painted, door):
    size = painted(
        "stablediffusionapi==0.0.5", door, TEXT2IMG, "a red circle", 512, 640, key=[door.key]
    )

    assert size == (512, 640)


def test_stablediffusionapi_paints_with_a_community_model(painted, patient_door):
    # While a picture is processing, this part of the client fails by itself.
    size = painted(
        "stablediffusionapi==0.0.5",
        patient_door,
        COMMUNITY,
        "demo",
        "a red circle",
        key=[patient_door.key],
    )

    assert size == (512, 512)


def test_sdapi_paints_from_a_text(painted, door):
    function = "StableDiffusionAPI.StableDiffusionAPI", "StableDiffusionAPI"

    assert painted("sdapi==0.0.1", door, function, "a red circle", 64, 64, 1) == (512, 512)
