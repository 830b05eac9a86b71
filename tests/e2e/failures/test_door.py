"""Front doors that die, callers who repeat themselves and change their minds, odd messages."""

import json
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from shared.queue import message_template
from tests.e2e.failures.scene import LONG, WORKERS, script, until


def ask_and_see_it_die(service, **fields) -> None:
    with suppress(httpx.TransportError):
        service.ask(**fields)


@pytest.mark.parametrize("after", [False, True])
def test_a_door_that_dies_with_a_request_leaves_a_whole_job_or_none(service, after):
    held = service.redis_link.hold(script("submit"), answer=after)
    key = {"idempotency_key": f"died-{after}"}
    with ThreadPoolExecutor(1) as threads:
        caller = threads.submit(ask_and_see_it_die, service, **key)
        assert held.arrived.wait(10)
        service.stack.kill("api")
        caller.result()
    held.drop()
    known = set(service.redis.scan_iter("job:*"))
    service.replace("api")
    service.stack.await_ready("api")

    job = service.submit(**key)

    assert (f"job:{job}" in known) == after, "a repeat gets the first one's job, if there is one"
    assert service.settled(extra_starts=0) == {"succeeded": 1}


def test_fifty_repeats_at_the_same_time_are_one_job(service):
    key = {"idempotency_key": "fifty"}
    with ThreadPoolExecutor(50) as threads:
        jobs = set(threads.map(lambda _: service.submit(**key), range(50)))
    other = service.ask(prompt="a dog", **key)

    assert len(jobs) == 1
    assert other.status_code == 409
    assert service.settled(extra_starts=0) == {"succeeded": 1}


def test_messages_that_mean_nothing_are_dropped_and_the_worker_lives(service):
    service.stack.await_ready(*WORKERS)
    job = service.submit()
    assert service.settled(extra_starts=0) == {"succeeded": 1}
    pids = service.pids(*WORKERS)

    def message(job_id: object, generation: object, **changes: object) -> str:
        filled = message_template().replace("__POOL__", "default")
        for name, value in (("ID", job_id), ("GENERATION", generation), ("TAG", "tag")):
            filled = filled.replace(f"__{name}__", str(value))
        return json.dumps(json.loads(filled) | changes)

    odd = [
        message(job, 1),  # done
        message(job, 9),
        message(1, 1),
        message("'", "\\u0000"),
        message(job, 1, body="[[], {}, {}]"),
        message(job, 1, body="not JSON"),
        message(job, 1, headers={"task": "os.system", "id": "1", "lang": "py"}),
        message(job, 1, headers={}),
        message(job, 1, **{"content-type": "application/x-python-serialize"}),
    ]
    service.redis.lpush("gpu.default", *odd)
    until(lambda: not service.redis.llen("gpu.default"))
    service.submit()

    assert service.settled(extra_starts=0) == {"succeeded": 1}
    assert service.pids(*WORKERS) == pids


@pytest.mark.parametrize("junk", ["{}", '{"body": "", "headers": {}}'])
def test_junk_in_the_queue_costs_neither_a_job_nor_a_worker(service, junk):
    service.stack.await_ready(*WORKERS)
    pids = service.pids(*WORKERS)

    service.redis.lpush("gpu.default", junk)
    jobs = [service.submit(seed=n) for n in range(4)]

    assert service.settled(extra_starts=0) == {"succeeded": len(jobs)}
    assert service.pids(*WORKERS) == pids


@pytest.mark.parametrize("junk", ["not JSON", "[]"])
def test_junk_that_celery_cannot_bear_costs_a_worker_its_life_and_no_job(service, junk):
    service.stack.await_ready(*WORKERS)

    service.redis.lpush("gpu.default", junk)  # kombu 5.7 expects an object, and ends
    jobs = [service.submit(seed=n) for n in range(4)]

    assert service.settled(extra_starts=len(jobs)) == {"succeeded": len(jobs)}
    until(lambda: None in service.pids(*WORKERS).values())
    [dead] = [name for name, pid in service.pids(*WORKERS).items() if pid is None]
    service.replace(dead)


def test_a_job_is_cancelled_wherever_it_is(service):
    service.stack.await_ready(*WORKERS)
    job, told = service.submit(), {}
    assert service.settled(extra_starts=0) == {"succeeded": 1}
    assert service.cancel(job) == "already_over"

    claimed = service.redis_link.hold(script("claim"), answer=True)
    job = service.submit()
    assert claimed.arrived.wait(10)
    told["just claimed"] = service.cancel(job)
    claimed.released.set()

    job = service.submit(**LONG)
    until(lambda: service.is_painted(job))
    told["painted"] = service.cancel(job)
    told["twice"] = service.cancel(job)

    uploaded = service.s3_link.hold(b"PUT /img2img/generations/")
    job = service.submit()
    assert uploaded.arrived.wait(10)
    told["uploaded"] = service.cancel(job)
    uploaded.released.set()

    for worker in WORKERS:
        service.stack.kill(worker, signal.SIGSTOP)
    jobs = [service.submit(seed=n) for n in range(4)]  # two are taken from the queue, two are not
    told |= {f"waiting {job}": service.cancel(job) for job in jobs}
    for worker in WORKERS:
        service.stack.kill(worker, signal.SIGCONT)

    assert set(told.values()) == {"cancelled"}
    assert service.settled(extra_starts=0) == {"cancelled": 7}


def test_a_job_is_cancelled_while_its_worker_is_dead(service):
    job = service.submit(**LONG)
    until(lambda: service.is_painted(job))
    worker = service.worker_of(job)

    service.stack.kill(worker)
    told = service.cancel(job)

    assert told == "cancelled"
    assert service.settled(extra_starts=0) == {"cancelled": 1}
    service.replace(worker)


def test_a_deadline_ends_a_job_between_two_steps(service):
    headers = {"Authorization": f"Bearer {service.stack.key}", "Cancel-After": "2"}
    body = {"prompt": "a cat", "num_inference_steps": 50, "width": 64, "height": 64, "samples": 4}
    answer = service.http.post("/v1/text2img", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    until(lambda: service.is_painted(job))
    service.accepted[job] = "deadline"

    assert service.settled(extra_starts=0) == Counter(cancelled=1)
