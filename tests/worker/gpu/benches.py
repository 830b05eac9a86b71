"""A runner on the bench: a real ledger, and stand-ins for the device and the store."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

from shared.add_ons import AddOn, AddOns, Embedding
from shared.models import Registry
from tests.jobs import make_job
from tests.worker.gpu.fakes import CARD
from tests.worker.gpu.pictures import encoded, photo
from tests.worker.gpu.stand_ins import FakeEngine, MemoryStore
from worker.gpu import images
from worker.gpu.checks import Checks
from worker.gpu.leases import Leases
from worker.gpu.runner import JobRunner

RETRY_DELAY = timedelta(seconds=60)
ADD_ONS = AddOns(
    loras={"ink": AddOn(name="ink", family="sd", source=Path("ink"))},
    embeddings={"moss": Embedding(name="moss", family="sd", source=Path("moss"), token="<moss>")},
    vaes={"mse": AddOn(name="mse", family="sd", source=Path("mse"))},
)


def make_bench(ledger):
    """A runner, and what it was given."""
    engine, store = FakeEngine(), MemoryStore()
    leases = Leases(ledger.attempts, every=timedelta(hours=1))
    runner = JobRunner(
        name="gpu0",
        attempts=ledger.attempts,
        leases=leases,
        engine=engine,
        registry=Registry([CARD]),
        checks=Checks({}),
        add_ons=ADD_ONS,
        store=store,
        fetch=lambda source, field: encoded(photo((64, 64))),
        decode=images.pixels,
        timeout=timedelta(seconds=30),
        patience=timedelta(seconds=30),
        retry_delay=RETRY_DELAY,
    )
    return SimpleNamespace(runner=runner, engine=engine, store=store, leases=leases)


def job_of(**changes):
    """A job for the fake model; `params` fields go where they belong."""
    job = make_job(**{name: changes.pop(name) for name in ("id", "pool") if name in changes})
    params = job.params.model_copy(update={"model_id": CARD.model_id} | changes)
    return job.model_copy(update={"params": params})


def run(bench, ledger, job):
    """As the message that is on its way would have it run."""
    bench.runner.run(str(job.id), str(ledger.record(job).generation))
    return ledger.record(job)
