"""What models.yaml says of safety checkers."""

import pytest
from pydantic import ValidationError

from shared.models import Registry, Safety

MODELS = "models: {demo: {family: sd, source: demo}}\n"


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "models.yaml"
        path.write_text(MODELS + text)
        return Registry.read(path, models_dir=tmp_path)

    return read


def test_the_stand_alone_checker_lies_where_the_models_lie(read, tmp_path):
    safety = read("safety_checker: {source: checker, dtype: float16, required: true}").safety

    assert safety == Safety(source=tmp_path / "checker", dtype="float16", required=True)


@pytest.mark.parametrize("text", ["", "safety_checker:"])
def test_without_one_nothing_is_required(read, text):
    assert read(text).safety == Safety(source=None, required=False)


def test_checks_can_be_required_of_the_models_own_checkers(read):
    assert read("safety_checker: {required: yes}").safety.required


@pytest.mark.parametrize("text", ["{folder: x}", "{dtype: int8}", "{required: sometimes}"])
def test_what_is_wrong_in_it_is_named(read, text):
    field = text.strip("{}").partition(":")[0]

    with pytest.raises(ValidationError, match=field):
        read(f"safety_checker: {text}")


def test_a_checker_is_no_model(tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text("models: {checker: {family: safety, source: checker}}")

    with pytest.raises(ValueError, match="family"):
        Registry.read(path, models_dir=tmp_path)
