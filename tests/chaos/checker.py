"""What must be true of a history, whatever happened meanwhile: pure functions to violations."""

import io
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from PIL import Image

from shared.jobs import JobState
from shared.object_store import output_keys
from tests.chaos.final import Final
from tests.chaos.history import (
    Accepted,
    Asked,
    History,
    Hook,
    Odd,
    Opened,
    Seen,
    Stranger,
    Stray,
)

Check = Callable[[History, Final], Iterator[str]]


def violations(history: History, final: Final) -> list[str]:
    """One sentence for each; none when all is well."""
    return [
        f"{check.__name__}: {sentence}" for check in CHECKS for sentence in check(history, final)
    ]


def none_is_lost(history: History, final: Final) -> Iterator[str]:
    """Each request is answered in the end, and its job is there and over."""
    answered = {accepted.mark for accepted in history.of(Accepted)}
    for asked in history.of(Asked):
        if asked.mark not in answered:
            yield f"request {asked.mark} was never answered"
    for accepted in history.of(Accepted):
        job = final.jobs.get(accepted.job_id)
        if job is None:
            yield f"job {accepted.job_id} was accepted and is gone"
        elif not job.record.state.is_final:
            yield f"job {accepted.job_id} is still {job.record.state}"


def the_ledger_knows_of_each(history: History, final: Final) -> Iterator[str]:
    """At no time does a job wait in a process's memory alone, where that process's end loses it."""
    for job_id in sorted({stray.job_id for stray in history.of(Stray)}):
        yield f"job {job_id} was not over, and neither queued, delayed nor leased"


def none_is_doubled(history: History, final: Final) -> Iterator[str]:
    """One request, however often it was sent, is one job."""
    told = defaultdict(set)
    for accepted in history.of(Accepted):
        told[accepted.mark].add(accepted.job_id)
    for job_id, job in final.jobs.items():
        told[job.record.job.track_id].add(job_id)
    for mark, ids in told.items():
        if len(ids) > 1:
            yield f"request {mark} became jobs {sorted(ids)}"


def nothing_goes_back(history: History, final: Final) -> Iterator[str]:
    """Whoever asks after the end of a job was seen, anywhere, sees that end."""
    by_job = defaultdict(list)
    for seen in history.of(Seen):
        by_job[seen.job_id].append(seen)
    for job_id, sights in by_job.items():
        ends = [seen for seen in sights if seen.state != "open"]
        if not ends:
            continue
        first = min(ends, key=lambda seen: seen.ended)
        for seen in sights:
            if seen.began > first.ended and seen.state != first.state:
                yield f"job {job_id} was {first.state}, then {seen.state}"
        if job_id in final.jobs and final.jobs[job_id].state != first.state:
            yield f"job {job_id} was {first.state} and ended {final.jobs[job_id].state}"


def outputs_stay(history: History, final: Final) -> Iterator[str]:
    """Once shown, the images of a job are those and no others."""
    for seen in history.of(Seen):
        job = final.jobs.get(seen.job_id)
        if job and seen.state != "open" and seen.outputs != job.outputs:
            yield f"job {seen.job_id} showed {seen.outputs}, then {job.outputs}"


def success_has_its_images(history: History, final: Final) -> Iterator[str]:
    """Each sample's own picture, stored by the attempt that held the job."""
    for job_id, job in final.jobs.items():
        if job.record.state is not JobState.SUCCEEDED:
            continue
        keys = list(job.record.result.keys)
        if keys != output_keys(job.record.job, job.record.generation):
            yield f"job {job_id} has images of another attempt than number {job.record.generation}"
        for key, seed in zip(keys, job.record.job.params.seeds, strict=False):
            if key not in final.objects:
                yield f"job {job_id} succeeded without {key}"
            elif not _is_painted(final.objects[key], seed):
                yield f"job {job_id} has another picture than its own in {key}"


def links_open(history: History, final: Final) -> Iterator[str]:
    """A link that was handed out leads to the picture, or to word of an outage."""
    for opened in history.of(Opened):
        job = final.jobs.get(opened.job_id)
        if job is None or opened.status in (None, 503):
            continue
        seeds = job.record.job.params.seeds
        if opened.status != 200:
            yield f"job {opened.job_id} has a link that answers {opened.status}: {opened.link}"
        elif not any(_is_painted(opened.body, seed) for seed in seeds):
            yield f"job {opened.job_id} has a link to another picture: {opened.link}"


def webhooks_come(history: History, final: Final) -> Iterator[str]:
    """Each final job's, at least once, until the receiver took it or wanted no more."""
    answers = defaultdict(list)
    for hook in history.of(Hook):
        answers[hook.job_id].append(hook.answer)
    for job_id, job in final.jobs.items():
        if not job.record.job.webhook:
            continue
        got, status = answers[job_id], job.record.webhook_status
        if not got:
            yield f"job {job_id} sent no webhook"
        elif status == "delivered" and not any(200 <= answer < 300 for answer in got):
            yield f"job {job_id} counts its webhook as delivered, but the answers were {got}"
        elif status == "given_up" and 410 not in got:
            yield f"job {job_id} gave its webhook up after {got}"
        elif not status:
            yield f"job {job_id} still owes its webhook after {got}"


def webhooks_are_right(history: History, final: Final) -> Iterator[str]:
    """One id, the tenant's own receiver and signature, and the state that the job ended in."""
    for hook in history.of(Hook):
        job = final.jobs.get(hook.job_id)
        if job is None:
            yield f"a webhook told of job {hook.job_id}, which is not there"
            continue
        wanted = (job.record.job.tenant, job.record.job.track_id, job.message_id, job.state, True)
        came = (hook.tenant, hook.mark, hook.message_id, hook.state, hook.is_signed)
        if came != wanted:
            yield f"job {hook.job_id}: the webhook has {came}, wanted {wanted}"


def no_tenant_sees_another(history: History, final: Final) -> Iterator[str]:
    """Another's id answers as one that nobody has."""
    for stranger in history.of(Stranger):
        if stranger.others != stranger.unknown:
            yield f"{stranger.tenant} asked for {stranger.job_id} and got {stranger.others}"


def nothing_is_left(history: History, final: Final) -> Iterator[str]:
    """Queues, leases and counters are empty again."""
    for key, size in final.left.items():
        if size:
            yield f"{key} still holds {size}"


def every_object_has_a_job(history: History, final: Final) -> Iterator[str]:
    """An output is a job's result, or what an attempt left behind that ended before its time."""
    known = {
        key
        for job in final.jobs.values()
        for generation in range(1, job.record.generation + 1)
        for key in output_keys(job.record.job, generation)
    }
    for key in final.objects.keys() - known:
        yield f"{key} belongs to no job"


def devices_work_once(history: History, final: Final) -> Iterator[str]:
    """A job runs once, and once more for each fault that took an attempt from it."""
    for job_id, job in final.jobs.items():
        record = job.record
        begun = final.executions.get(job_id, 0)
        if begun > record.generation * record.job.params.samples:
            yield f"job {job_id} was begun {begun} times in {record.generation} attempts"
        if record.attempts > final.max_attempts:
            yield f"job {job_id} was charged {record.attempts} attempts"
        if record.generation > 1 + final.faults:
            yield f"job {job_id} had {record.generation} attempts in {final.faults} faults"


def answers_are_plain(history: History, final: Final) -> Iterator[str]:
    """Outages are told as such, with a time to come back; nothing is an internal error."""
    for what, count in Counter(odd.what for odd in history.of(Odd)).items():
        yield f"{what} ({count} times)"


def _is_painted(picture: bytes, seed: int) -> bool:
    """Whether it is in the one colour that the simulated device makes of the seed."""
    try:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
    except OSError:
        return False
    corners = {image.getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)}
    return corners == {tuple(seed.to_bytes(4, "big")[1:])}


CHECKS: tuple[Check, ...] = (
    none_is_lost,
    the_ledger_knows_of_each,
    none_is_doubled,
    nothing_goes_back,
    outputs_stay,
    success_has_its_images,
    links_open,
    webhooks_come,
    webhooks_are_right,
    no_tenant_sees_another,
    nothing_is_left,
    every_object_has_a_job,
    devices_work_once,
    answers_are_plain,
)
