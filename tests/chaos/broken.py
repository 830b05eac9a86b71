"""Builds that are broken on purpose: each lacks one thing that holds the service together.

A run of any of them has to end in violations, or the checker is not worth its name.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from shared.ledger.attempts import Attempts
from shared.ledger.records import read
from shared.ledger.submissions import Submissions
from shared.object_store import ObjectStore
from shared.queue import GENERATE, make_celery, queue_name
from shared.tenants import Tenants


def _script(name: str, text: str, instead: str) -> None:
    """The Lua script of this name with another text in one place."""
    read_text = Path.read_text

    def broken(self, *args, **options):
        whole = read_text(self, *args, **options)
        if self.name != f"{name}.lua":
            return whole
        if text not in whole:
            raise LookupError(f"{name}.lua has changed: {text} is not in it")
        return whole.replace(text, instead)

    Path.read_text = broken


def outbox() -> None:
    """A job ends without putting its webhook into the outbox."""
    _script("common", "if job[2] ~= '' then redis.call('ZADD', 'outbox', now, id) end", "")


def fencing() -> None:
    """Whoever says that it runs a job is believed, whatever attempt it is."""
    _script(
        "common",
        "return job[1] == 'running' and job[2] == generation and job[3] == owner",
        "return job[1] == 'running'",
    )


def final() -> None:
    """As `fencing`, and also after the job's end."""
    _script(
        "common",
        "return job[1] == 'running' and job[2] == generation and job[3] == owner",
        "return job[1] and true or false",
    )


def countdown() -> None:
    """A delayed retry waits in a Celery worker's memory, not in the ledger."""
    _script("common", "redis.call('ZADD', 'delayed', now + delay, id)", "")

    hand_back = Attempts.hand_back

    def counting_down(self, attempt, *, charged, delay=timedelta(0), failure):
        answer = hand_back(self, attempt, charged=charged, delay=delay, failure=failure)
        if answer == "queued" and delay:
            job, generation = attempt.job, str(attempt.generation + 1)
            url = "redis://{host}:{port}/{db}".format(
                **self._redis.connection_pool.connection_kwargs
            )
            celery = make_celery(url, {job.pool})
            celery.send_task(
                GENERATE,
                args=[str(job.id), generation],
                queue=queue_name(job.pool),
                countdown=delay.total_seconds(),
            )
        return answer

    Attempts.hand_back = counting_down


def leases() -> None:
    """Nobody brings back the jobs of dead workers."""
    _script("reap", "'ZRANGEBYSCORE', 'leases',", "'ZRANGEBYSCORE', 'no leases',")


def idempotency() -> None:
    """A repeated request is another job."""
    _script("submit", "local remember = idempotency_key ~= '' and", "local remember = false and")


def owner() -> None:
    """Any key reads any job."""

    async def find(self, job_id, tenant):
        return read(await self._redis.hgetall(f"job:{job_id}"))

    Submissions.find = find


def signature() -> None:
    """All webhooks are signed with the same tenant's secret."""
    Tenants.webhook_secrets = lambda self, tenant: next(iter(self._secrets.values()))


def upload() -> None:
    """Half of the jobs succeed without storing their images."""
    put = ObjectStore.put

    def forgetful(self, key, data, content_type, *, job_id=None):
        if job_id is None or job_id % 2:
            put(self, key, data, content_type, job_id=job_id)

    ObjectStore.put = forgetful


BUILDS: dict[str, Callable[[], None]] = {
    build.__name__: build
    for build in (
        outbox, fencing, final, countdown, leases, idempotency, owner, signature, upload,
    )
}  # fmt: skip
