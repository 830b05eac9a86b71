"""What the public API says of a finished job's safety."""

import pytest

from shared.jobs import JobRecord, JobState
from shared.outcome import outcome
from tests.jobs import RESULT, make_job


def answer(*unsafe, asked=True, cover="blur"):
    job = make_job()
    fields = {"safety_checker": asked, "safety_checker_type": cover, "seeds": (1, 2)}
    record = JobRecord(
        job=job.model_copy(update={"params": job.params.model_copy(update=fields)}),
        state=JobState.SUCCEEDED,
        generation=1,
        attempts=1,
        created=0,
        result=RESULT.model_copy(update={"unsafe": unsafe}),
    )
    return outcome(record, list)


def test_a_flagged_picture_is_named_by_its_place_and_flags_the_answer():
    body = answer(False, True)

    assert body["nsfw_content_detected"] is True
    assert body["meta"]["nsfw_content_detected"] == [False, True]
    assert body["meta"]["safety_checker"] == body["meta"]["safetychecker"] == "yes"
    assert body["meta"]["safety_checker_type"] == "blur"


def test_an_answer_without_a_flagged_picture_is_not_flagged():
    body = answer(False, False)

    assert body["nsfw_content_detected"] is False
    assert body["meta"]["nsfw_content_detected"] == [False, False]


@pytest.mark.parametrize(("asked", "shown"), [(True, "none"), (False, "no")])
def test_where_nothing_was_checked_meta_says_so(asked, shown):
    body = answer(asked=asked)

    assert body["nsfw_content_detected"] is False
    assert body["meta"]["nsfw_content_detected"] is None
    assert body["meta"]["safety_checker"] == body["meta"]["safetychecker"] == shown
    assert body["meta"]["safety_checker_type"] is None


def test_a_check_that_was_forced_is_shown_as_one():
    assert answer(False, False, asked=False)["meta"]["safety_checker"] == "yes"
