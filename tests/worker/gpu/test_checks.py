"""Whose pictures are checked, and by whom."""

import pytest

from shared.models import Safety
from tests.jobs import make_job
from tests.worker.gpu.fakes import CARD, make_sample
from worker.gpu.checks import Checks, check_of
from worker.gpu.samples import Picture

ALONE = Safety(source="checkers/common", dtype="float16")


def model(folder, model_id, family="sd", *, own=True, weights="model.safetensors"):
    """A model whose folder has a checker."""
    source = folder / model_id
    if own:
        (source / "safety_checker").mkdir(parents=True)
        (source / "safety_checker" / weights).touch()
        (source / "feature_extractor").mkdir()
    names = {"model_id": model_id, "family": family, "source": source, "dtype": "bfloat16"}
    return CARD.model_copy(update=names)


def params(model_id, *, asked=True):
    return make_job().params.model_copy(update={"model_id": model_id, "safety_checker": asked})


def test_a_models_own_checker_comes_before_the_stand_alone_one(tmp_path):
    cards = [model(tmp_path, "a"), model(tmp_path, "b", own=False)]

    own, common = Checks.find(cards, ALONE).cards

    assert (own.source, own.dtype) == (tmp_path / "a" / "safety_checker", "bfloat16")
    assert (common.source, common.dtype) == (ALONE.source, "float16")


def test_other_families_and_folders_without_safetensors_have_the_stand_alone_one(tmp_path):
    cards = [
        model(tmp_path, "xl", "sdxl"),
        model(tmp_path, "old", weights="pytorch_model.bin"),
    ]

    (common,) = Checks.find(cards, ALONE).cards

    assert common.source == ALONE.source


def test_no_request_can_name_a_checker(tmp_path):
    (checker,) = Checks.find([model(tmp_path, "a")], Safety()).cards

    with pytest.raises(ValueError, match="model_id"):
        type(checker)(model_id=checker.model_id, family="sd", source=checker.source)


def test_who_asks_for_a_check_has_it_where_there_is_a_checker(tmp_path):
    cards = [model(tmp_path, "a"), model(tmp_path, "b", own=False)]
    checks = Checks.find(cards, Safety())

    assert checks.checker(params("a")) is not None
    assert checks.checker(params("a", asked=False)) is None
    assert checks.checker(params("b")) is None


def test_where_checks_are_required_nobody_can_do_without(tmp_path):
    checks = Checks.find([model(tmp_path, "a")], Safety(required=True))

    assert checks.checker(params("a", asked=False)) is not None


def test_where_checks_are_required_a_model_without_a_checker_is_refused(tmp_path):
    cards = [model(tmp_path, "a"), model(tmp_path, "b", own=False)]

    with pytest.raises(ValueError, match="models have none: b"):
        Checks.find(cards, Safety(required=True))


def test_the_verdict_of_a_strict_sample_depends_on_no_load_either(tmp_path):
    (checker,) = Checks.find([model(tmp_path, "a")], Safety()).cards
    sample = make_sample(strict=True)

    check = check_of(Picture(sample.image, steps=4), checker, sample)

    assert check.key.strict
