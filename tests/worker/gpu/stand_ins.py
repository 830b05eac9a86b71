"""Small working stand-ins for what a runner is given besides the ledger."""

from collections.abc import Callable, Iterable

from shared.object_store import StoredObject
from worker.gpu.engine import EngineStopped
from worker.gpu.samples import Picture, Sample


class FakeEngine:
    """Answers each sample at once with the image it started from, unless told otherwise."""

    def __init__(self) -> None:
        self.submitted: list[Sample] = []
        self.answer: Callable[[Sample], None] = paint
        self.stopped = False

    def submit(self, samples: Iterable[Sample], *, timeout: float | None = None) -> None:
        if self.stopped:
            raise EngineStopped("the engine has stopped")
        samples = list(samples)
        self.submitted += samples
        for sample in samples:
            self.answer(sample)


def paint(sample: Sample) -> None:
    """All steps at once."""
    sample.step = sample.total = sample.steps
    sample.succeed(Picture(sample.image, sample.steps))


class MemoryStore:
    """Objects in a dict; `before` sees every key that is put, and may raise."""

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.jobs: dict[str, int] = {}
        self.before: Callable[[str], None] = lambda key: None

    def put(self, key: str, data: bytes, content_type: str, *, job_id: int) -> None:
        self.before(key)
        self.jobs[key] = job_id
        self.objects[key] = StoredObject(data, content_type)
