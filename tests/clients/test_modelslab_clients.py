"""The vendor's own clients, on another base URL: every flow that makes pictures, to its end.

The official npm client is not to be had from every registry; a script makes its calls in its shape.
"""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.clients.conftest import SIDE, base64_of, run

HERE = Path(__file__).parent


@pytest.fixture
def flows(hurried_door, photo, tmp_path):
    """What a program with the client prints: flow -> first and last answer."""

    def flows(*program, **environment):
        for picture in (photo, photo.with_name("mask.png")):
            (tmp_path / picture.name).write_text(base64_of(picture))
        asked = [hurried_door.url, hurried_door.key, "photo.png", "mask.png"]
        said = run([*program, *asked], tmp_path, **hurried_door.trust, **environment)
        return json.loads(said)

    return flows


def check_each(flows, door):
    for name, (first, last) in flows.items():
        assert first["status"] == "processing", (name, first)
        assert isinstance(first["eta"], int | float), name
        assert not first["output"], name
        assert last["status"] == "success", (name, last)
        with Image.open(io.BytesIO(door.open(last["output"][0]))) as picture:
            assert (picture.format, picture.size) == ("PNG", (SIDE, SIDE)), name


@pytest.mark.parametrize(
    ("pin", "program", "count"),
    [
        ("modelslab==0.2", "modelslab_flows.py", 8),
        ("modelslab-py==0.2.3", "modelslab_py_flows.py", 14),
    ],
)
def test_every_flow_of_the_python_clients_ends_with_a_picture(
    flows, client, hurried_door, pin, program, count
):
    answers = flows(sys.executable, "-P", str(HERE / program), PYTHONPATH=str(client(pin)))

    assert len(answers) == count
    check_each(answers, hurried_door)


def test_every_flow_of_the_javascript_client_ends_with_a_picture(flows, hurried_door):
    if not (node := shutil.which("node")):
        pytest.skip("node is not installed")

    answers = flows(node, str(HERE / "modelslab_js_flows.mjs"))

    assert len(answers) == 9
    check_each(answers, hurried_door)
