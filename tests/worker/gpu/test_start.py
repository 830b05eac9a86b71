from types import SimpleNamespace

import pytest

from worker.gpu.app import GpuWorker
from worker.gpu.config import GpuSettings


def test_a_worker_whose_models_do_not_warm_up_takes_nothing_and_is_never_ready(tmp_path):
    def fail():
        raise OSError("no such weights")

    consumed = []
    ready = tmp_path / "ready"
    worker = GpuWorker(
        settings=GpuSettings(ready_file=ready),
        engine=SimpleNamespace(start=fail),
        celery=SimpleNamespace(worker_main=consumed.append),
        **dict.fromkeys(("attempts", "leases", "decoders", "registry", "pipelines", "inbox")),
        checked=frozenset(),
    )

    with pytest.raises(OSError, match="no such weights"):
        worker.run()

    assert consumed == []
    assert not ready.exists()
