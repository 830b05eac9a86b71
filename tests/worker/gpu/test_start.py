"""What a worker does before it takes jobs."""

from types import SimpleNamespace

import pytest

from shared.errors import BadInput
from shared.ledger.orders import Inbox
from worker.gpu import app
from worker.gpu.app import GpuWorker
from worker.gpu.config import GpuSettings
from worker.gpu.decoder import DecoderLimits
from worker.gpu.decoder_pool import DecoderPool
from worker.gpu.images import Bounds


def nothing(**_):
    pass


@pytest.fixture
def worker_with(tmp_path):
    """A worker of stand-ins, but for these parts; `took_jobs` holds what it consumed."""

    def make(**parts):
        took_jobs = []
        standing_in = {
            "engine": SimpleNamespace(start=nothing, stalled_for=0, occupancy=0, steps=0),
            "decoders": SimpleNamespace(check=nothing),
            "attempts": SimpleNamespace(register=lambda record, lifetime: None),
            "pipelines": SimpleNamespace(loaded=()),
            "registry": SimpleNamespace(get=lambda model_id: None),
            "leases": None,
            "inbox": None,
        }
        worker = GpuWorker(
            settings=GpuSettings(ready_file=tmp_path / "ready"),
            celery=SimpleNamespace(worker_main=took_jobs.append),
            checked=frozenset(),
            **standing_in | parts,
        )
        return worker, took_jobs

    return make


def test_a_worker_whose_models_do_not_warm_up_takes_nothing_and_is_never_ready(worker_with):
    def fail():
        raise OSError("no such weights")

    worker, took_jobs = worker_with(engine=SimpleNamespace(start=fail))

    with pytest.raises(OSError, match="no such weights"):
        worker.run()

    assert took_jobs == []
    assert not worker.settings.ready_file.exists()


def test_a_worker_whose_decoders_cannot_work_takes_nothing_and_is_never_ready(worker_with):
    with DecoderPool(2, DecoderLimits(bounds=Bounds(bytes=1))) as decoders:
        worker, took_jobs = worker_with(decoders=decoders)

        with pytest.raises(BadInput):
            worker.run()

    assert took_jobs == []
    assert not worker.settings.ready_file.exists()


def test_what_is_ordered_while_a_worker_warms_up_is_obeyed_when_it_is_ready(
    worker_with, redis, monkeypatch
):
    obeyed = []
    monkeypatch.setattr(app, "obey", lambda order, *_: obeyed.append(order.what))
    worker, _ = worker_with(inbox=Inbox(redis, "gpu0"))
    redis.xadd("orders", {"what": "drain"})

    worker.tick()
    assert obeyed == []
    worker.consumes.set()
    worker.tick()
    assert obeyed == ["drain"]
