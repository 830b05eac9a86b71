"""What the public API says of a job that ended."""

import pytest

from shared.jobs import JobRecord, JobState, Result
from shared.outcome import meta, outcome
from shared.schedulers import ALGORITHM, KARRAS, SDE
from tests.jobs import make_job

ASKED = "DPMSolverMultistepScheduler"


def ended(ran: str) -> JobRecord:
    """A job for a scheduler with options, that this one served."""
    job = make_job()
    params = {"scheduler": ASKED, "scheduler_options": {KARRAS: True, ALGORITHM: SDE}}
    return JobRecord(
        job=job.model_copy(update={"params": job.params.model_copy(update=params)}),
        state=JobState.SUCCEEDED,
        generation=1,
        attempts=1,
        result=Result(keys=(), file_prefix="x", width=64, height=64, scheduler=ran, seconds=1.0),
        created=0.0,
    )


def test_meta_shows_the_options_of_the_scheduler_that_ran():
    shown = meta(ended(ASKED))

    assert shown["scheduler"] == ASKED
    assert (shown["use_karras_sigmas"], shown["algorithm_type"]) == ("yes", SDE)


def test_meta_shows_no_options_of_a_scheduler_that_did_not_run():
    shown = meta(ended("FlowMatchEulerDiscreteScheduler"))

    assert shown["scheduler"] == "FlowMatchEulerDiscreteScheduler"
    assert (shown["use_karras_sigmas"], shown["algorithm_type"]) == (None, None)


@pytest.mark.parametrize(
    ("deleted", "status", "output"),
    [
        ({"other"}, "success", ["a", "b"]),
        ({"a"}, "success", ["b"]),
        ({"a", "b"}, "failed", []),
    ],
)
def test_what_was_deleted_is_no_output_any_more(deleted: set[str], status: str, output: list[str]):
    record = ended(ASKED)
    assert record.result is not None
    result = record.result.model_copy(update={"keys": ("a", "b")})
    record = record.model_copy(update={"result": result, "deleted": frozenset(deleted)})

    body = outcome(record, list)

    assert (body["status"], body["output"]) == (status, output)
    assert body.get("proxy_links", []) == output
    assert body.get("message") == (None if output else "The images of this request were deleted")
