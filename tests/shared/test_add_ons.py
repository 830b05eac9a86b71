"""The allow-lists of what requests may add to a model."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from shared.add_ons import AddOn, AddOns, Embedding


@pytest.fixture
def read(tmp_path):
    def read(text):
        file = tmp_path / "models.yaml"
        file.write_text(text)
        return AddOns.read(file, models_dir=Path("/models"))

    return read


def test_each_section_is_read_and_its_files_lie_in_the_models_folder(read):
    add_ons = read("""
models: {demo: {family: sd, source: demo}}
loras: {ink: {family: sd, source: loras/ink.safetensors, licence: MIT}}
embeddings: {moss: {family: sdxl, source: moss.safetensors, token: <moss>}}
vaes: {mse: {family: sd, source: /elsewhere/mse}}
""")

    ink = AddOn(
        name="ink", family="sd", source=Path("/models/loras/ink.safetensors"), licence="MIT"
    )
    moss = Embedding(
        name="moss", family="sdxl", source=Path("/models/moss.safetensors"), token="<moss>"
    )
    mse = AddOn(name="mse", family="sd", source=Path("/elsewhere/mse"))
    assert add_ons == AddOns({"ink": ink}, {"moss": moss}, {"mse": mse})


@pytest.mark.parametrize("text", ["models: {}", "models: {}\nloras:\nvaes: {}"])
def test_sections_may_be_empty_or_absent(read, text):
    assert read(text) == AddOns()


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("loras: {ink: {family: sd3, source: x}}", "family"),
        ("loras: {ink: {family: sd}}", "source"),
        ("loras: {'a,b': {family: sd, source: x}}", "name"),
        ("loras: {ink: {family: sd, source: x, token: x}}", "token"),
        ("embeddings: {moss: {family: sd, source: x}}", "token"),
        ("embeddings: {moss: {family: sd, source: x, token: a b}}", "token"),
        ("embeddings: {moss: {family: sd, source: x, token: '[moss]'}}", "token"),
        ("embeddings: {moss: {family: flux, source: x, token: moss}}", "family"),
        ("vaes: {mse: {family: sd, source: x, dtype: float16}}", "dtype"),
    ],
)
def test_a_wrong_line_is_named(read, line, field):
    with pytest.raises(ValidationError, match=field):
        read(f"models: {{}}\n{line}")


def test_the_file_that_comes_with_the_service_can_be_read():
    assert AddOns.read(Path("infra/models.yaml"), models_dir=Path("/models")) == AddOns()
