"""Each invariant against a history that breaks it, made by hand."""

import io

import pytest
from PIL import Image

from shared.jobs import JobRecord, JobState, Result
from shared.object_store import output_keys
from tests.chaos import checker
from tests.chaos.checker import violations
from tests.chaos.final import Ended, Final, orphans
from tests.chaos.history import Accepted, Asked, History, Hook, Odd, Opened, Seen, Stranger, Stray
from tests.jobs import FAILURE, make_job

JOB = make_job(
    id=4,
    tenant="ant",
    track_id="ant-1",
    webhook="http://ant.example/hook",
    file_prefix="00000000-0000-4000-8000-000000000000",
)
RED, BLUE = (0, 0, 1), (0, 0, 2)
"""What the simulated device makes of the seeds 1 and 2."""
KEY = output_keys(JOB, 1)[0]
NAME = KEY.rpartition("/")[2]


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


def ended(state=JobState.SUCCEEDED, job=JOB, **changes):
    result = Result(
        keys=(KEY,),
        file_prefix=job.file_prefix,
        width=8,
        height=8,
        scheduler="DDIMScheduler",
        seconds=1,
    )
    fields = {
        "job": job,
        "state": state,
        "generation": 1,
        "attempts": 1,
        "created": 0,
        "webhook_status": "delivered",
        "result": result if state is JobState.SUCCEEDED else None,
        "failure": FAILURE if state is JobState.FAILED else None,
    }
    return Ended(JobRecord(**(fields | changes)), "msg_1")


def hook(**changes):
    fields = {
        "tenant": "ant",
        "mark": "ant-1",
        "job_id": 4,
        "message_id": "msg_1",
        "state": "succeeded",
        "is_signed": True,
        "answer": 204,
    }
    return Hook(**(fields | changes))


def story(*events, without=()):
    """A job that was accepted, ran, was seen and delivered; then some events more."""
    good = [
        Asked("ant-1", "ant", webhook=True),
        Accepted("ant-1", 4),
        Seen(4, 1, 2, "open"),
        Seen(4, 3, 4, "succeeded", (NAME,)),
        Opened(4, "/generations/x", 200, png(RED)),
        hook(),
        Stranger(4, "bee", "404 no such job", "404 no such job"),
    ]
    return History([one for one in good if not isinstance(one, without)] + list(events))


def final(jobs=None, objects=None, **rest):
    jobs = {4: ended()} if jobs is None else jobs
    objects = {KEY: png(RED)} if objects is None else objects
    return Final(jobs, objects, **({"left": {"leases": 0}, "executions": {4: 1}} | rest))


def test_a_good_history_has_no_violations():
    assert violations(story(), final()) == []


SECOND = make_job(id=5, tenant="ant", track_id="ant-1")
OTHER = Seen(4, 5, 6, "succeeded", ("other.png",))


@pytest.mark.parametrize(
    ("invariant", "history", "end"),
    [
        ("none_is_lost", story(), final(jobs={}, objects={})),
        ("none_is_lost", story(without=Seen), final(jobs={4: ended(JobState.RUNNING)})),
        ("none_is_lost", story(Asked("ant-2", "ant", webhook=False)), final()),
        ("the_ledger_knows_of_each", story(Stray(4)), final()),
        ("none_is_doubled", story(Accepted("ant-1", 5)), final()),
        (
            "none_is_doubled",
            story(),
            final(jobs={4: ended(), 5: ended(JobState.FAILED, SECOND)}),
        ),
        ("nothing_goes_back", story(Seen(4, 5, 6, "open")), final()),
        ("nothing_goes_back", story(Seen(4, 5, 6, "failed")), final()),
        ("nothing_goes_back", story(), final(jobs={4: ended(JobState.FAILED)})),
        ("outputs_stay", story(OTHER), final()),
        ("success_has_its_images", story(), final(objects={})),
        ("success_has_its_images", story(), final(objects={KEY: png(BLUE)})),
        ("success_has_its_images", story(), final(objects={KEY: png(RED)[:40]})),
        ("success_has_its_images", story(), final(jobs={4: ended(generation=2)})),
        ("links_open", story(Opened(4, "/generations/x", 404)), final()),
        ("links_open", story(Opened(4, "/generations/x", 200, png(BLUE))), final()),
        ("webhooks_come", story(without=Hook), final()),
        ("webhooks_come", story(hook(answer=500), without=Hook), final()),
        ("webhooks_come", story(), final(jobs={4: ended(webhook_status="given_up")})),
        ("webhooks_come", story(), final(jobs={4: ended(webhook_status="")})),
        ("webhooks_are_right", story(hook(message_id="msg_2")), final()),
        ("webhooks_are_right", story(hook(is_signed=False)), final()),
        ("webhooks_are_right", story(hook(tenant="bee")), final()),
        ("webhooks_are_right", story(hook(state="failed")), final()),
        ("webhooks_are_right", story(hook(mark="ant-2")), final()),
        ("webhooks_are_right", story(hook(job_id=6)), final()),
        ("no_tenant_sees_another", story(Stranger(4, "bee", "200 {}", "404 {}")), final()),
        ("nothing_is_left", story(), final(left={"leases": 1})),
        ("every_object_has_a_job", story(), final(objects={KEY: png(RED), "generations/y": b""})),
        ("devices_work_once", story(), final(executions={4: 2})),
        ("devices_work_once", story(), final(jobs={4: ended(attempts=4)}, faults=3)),
        ("devices_work_once", story(without=Seen), final(jobs={4: ended(generation=2)})),
        ("answers_are_plain", story(Odd("GET /v1/jobs/ID: 500")), final()),
    ],
)
def test_a_bad_history_breaks_its_invariant(invariant, history, end):
    assert invariant in {violation.partition(":")[0] for violation in violations(history, end)}


def test_every_invariant_is_among_those_that_are_checked():
    named = {check.__name__ for check in checker.CHECKS}
    [marks] = test_a_bad_history_breaks_its_invariant.pytestmark
    assert named == {invariant for invariant, _, _ in marks.args[1]}


def test_a_fault_excuses_another_attempt_and_what_the_first_one_left_behind():
    again = output_keys(JOB, 2)[0]
    result = ended().record.result.model_copy(update={"keys": (again,)})
    job = ended(generation=2, attempts=2, result=result)
    seen = Seen(4, 3, 4, "succeeded", (again.rpartition("/")[2],))
    end = final({4: job}, {KEY: png(RED), again: png(RED)}, executions={4: 2}, faults=1)
    assert violations(story(seen, without=Seen), end) == []
    assert orphans(end) == 1


def test_what_was_asked_before_an_end_was_seen_may_answer_late():
    assert violations(story(Seen(4, 1, 9, "open")), final()) == []
