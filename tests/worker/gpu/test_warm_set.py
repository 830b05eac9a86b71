"""Which models are loaded and which have to go, while jobs want more than there is room for."""

import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY

from shared.errors import OutOfMemory, TimedOut
from tests.worker.gpu.fakes import CARD, FakePipeline, make_sample
from worker.gpu.config import GpuSettings
from worker.gpu.engine import Engine
from worker.gpu.families import DeviceLost, DeviceMemoryFull
from worker.gpu.pipelines import WarmPipelines

SECONDS = 20
A, B, C = (CARD.model_copy(update={"model_id": name}) for name in "abc")


class Device:
    """Loads fake models, each of the size that it is told, and counts those that are alive."""

    def __init__(self, budget: float, **sizes: int) -> None:
        self.budget = budget
        self.sizes = sizes
        self.loads: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.alive: dict[str, weakref.ref[FakePipeline]] = {}

    def load(self, card, device):
        self.loads.append(card.model_id)
        if card.model_id in self.fails:
            raise self.fails.pop(card.model_id)
        pipeline = FakePipeline(card)
        self.alive[card.model_id] = weakref.ref(pipeline)
        return pipeline

    def needs(self, card):
        return self.sizes.get(card.model_id, 1)

    would_add = needs

    def held(self, model_ids):
        there = [name for name in model_ids if name in self.alive and self.alive[name]()]
        return sum(self.sizes.get(name, 1) for name in there)

    def give_back(self):
        gc.collect()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def warm(device, *cards, first=""):
    return WarmPipelines(cards or (A, B, C), "cpu", device.load, memory=device, first=first)


def of(card, count=1):
    return [make_sample(model_id=card.model_id) for _ in range(count)]


def is_free(pipelines, card) -> bool:
    """Whether a job of this model would be taken at once."""
    samples = of(card)
    try:
        pipelines.pin(samples, timeout=0)
    except TimedOut:
        return False
    end(samples)
    return True


def end(samples):
    for sample in samples:
        sample.forget()


def wait_until(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def pin_in_line(threads, pipelines, samples):
    """Pin in a thread; comes back when the samples are in the line."""
    before = waiting()
    pinned = threads.submit(pipelines.pin, samples, timeout=SECONDS)
    wait_until(lambda: waiting() > before)
    return pinned


def waiting():
    return REGISTRY.get_sample_value("img2img_model_waiting")


def counted(name, card):
    return REGISTRY.get_sample_value(name, {"model_id": card.model_id}) or 0


def test_the_budget_is_bytes_or_has_a_unit():
    assert GpuSettings(vram_budget="20GiB").vram_budget == 20 * 2**30
    assert GpuSettings(vram_budget="1000").vram_budget == 1000


def test_at_start_the_default_model_is_loaded_and_then_what_fits_in_order():
    device = Device(3, a=1, b=2, c=1)

    warm(device, first="c")

    assert device.loads == ["c", "a"]


def test_a_model_larger_than_the_budget_is_refused_at_start():
    with pytest.raises(ValueError, match=r"The model b takes 3.0 GiB, for models there are 2.0"):
        warm(Device(2 * 2**30, b=3 * 2**30))


def test_a_model_is_loaded_when_it_is_first_asked_for():
    device = Device(2)
    pipelines = warm(device)
    loads, evictions = (
        counted("img2img_model_loads_total", C),
        counted("img2img_model_evictions_total", A),
    )
    samples = of(C)

    pipeline = pipelines.pin(samples)

    assert pipeline is pipelines.get("c")
    assert device.loads == ["a", "b", "c"]
    assert counted("img2img_model_loads_total", C) == loads + 1
    assert counted("img2img_model_evictions_total", A) == evictions + 1
    assert counted("img2img_model_bytes", C) == 1
    assert counted("img2img_model_bytes", A) == 0


def test_the_least_recently_used_model_goes():
    pipelines = warm(Device(2))
    end_of_b, end_of_a = of(B), of(A)
    pipelines.pin(end_of_b)
    pipelines.pin(end_of_a)
    end(end_of_b + end_of_a)

    pipelines.pin(of(C))

    assert is_free(pipelines, A)
    with pytest.raises(KeyError):
        pipelines.get("b")


def test_an_unused_model_goes_before_an_older_one_in_use():
    pipelines = warm(Device(2))
    samples = of(A)
    pipelines.pin(samples)
    pipelines.pin(unused := of(B))
    end(unused)

    pipelines.pin(of(C), timeout=0)

    assert pipelines.get("a").card is A


def test_no_more_models_go_than_have_to():
    pipelines = warm(Device(4, a=1, b=2, c=2))

    pipelines.pin(of(C))

    assert pipelines.get("b").card is B
    with pytest.raises(KeyError):
        pipelines.get("a")


def test_a_model_stays_until_the_last_of_its_samples_has_ended(threads):
    pipelines = warm(Device(1), A, B)
    samples = of(A, 3)
    pipelines.pin(samples)
    pinned = pin_in_line(threads, pipelines, of(B))

    end(samples[:2])
    wait_until(lambda: not is_free(pipelines, A))
    still_there = pipelines.get("a")
    end(samples[2:])

    assert still_there.card is A
    assert pinned.result(SECONDS).card is B


def test_who_waits_for_room_is_not_starved_by_requests_for_warm_models(threads):
    device = Device(2)
    pipelines = warm(device)
    samples_of_a, samples_of_b = of(A), of(B)
    pipelines.pin(samples_of_a)
    pipelines.pin(samples_of_b)
    pinned = pin_in_line(threads, pipelines, of(C))

    wait_until(lambda: not is_free(pipelines, A))

    assert is_free(pipelines, B)  # which has not to go
    late = pin_in_line(threads, pipelines, of(A))
    end(samples_of_a)
    assert pinned.result(SECONDS).card is C
    end(samples_of_b)
    assert late.result(SECONDS).card is A
    assert device.loads == ["a", "b", "c", "a"]


def test_a_loaded_model_serves_all_that_waited_for_it(threads):
    device = Device(1)
    pipelines = warm(device)
    running = of(A)
    pipelines.pin(running)
    b1, c, b2 = of(B), of(C), of(B)
    pinned = [pin_in_line(threads, pipelines, samples) for samples in (b1, c, b2)]

    end(running)
    assert pinned[0].result(SECONDS) is pinned[2].result(SECONDS)
    end(b1)
    end(b2)

    assert pinned[1].result(SECONDS).card is C
    assert device.loads == ["a", "b", "c"]


def test_a_job_that_nobody_waits_for_leaves_the_line(threads):
    pipelines = warm(Device(1), A, B)
    pipelines.pin(of(A))
    samples = of(B, 2)
    pinned = pin_in_line(threads, pipelines, samples)
    wait_until(lambda: not is_free(pipelines, A))

    for sample in samples:
        sample.done.cancel()

    with pytest.raises(CancelledError):
        pinned.result(SECONDS)
    assert is_free(pipelines, A)


def test_a_job_waits_no_longer_than_its_time():
    pipelines = warm(Device(1), A, B)
    pipelines.pin(of(A))

    with pytest.raises(TimedOut, match="no room for the model b"):
        pipelines.pin(of(B), timeout=0.01)

    assert is_free(pipelines, A)


def test_a_load_that_fails_concerns_only_the_job_that_asked(threads):
    device = Device(1)
    pipelines = warm(device)
    running = of(A)
    pipelines.pin(running)
    device.fails["b"] = OSError("a damaged file")
    b, c = (pin_in_line(threads, pipelines, of(card)) for card in (B, C))

    end(running)

    with pytest.raises(OSError, match="a damaged file"):
        b.result(SECONDS)
    assert c.result(SECONDS).card is C


def test_a_model_that_does_not_fit_after_all_is_the_jobs_error():
    device = Device(2)
    device.fails["c"] = DeviceMemoryFull("CUDA out of memory")
    pipelines = warm(device)
    with pytest.raises(OutOfMemory, match="The model c does not fit on the device"):
        pipelines.pin(of(C))

    device.sizes["c"] = 2**40
    with pytest.raises(OutOfMemory, match=r"The model c takes 1024.0 GiB"):
        pipelines.pin(of(C))


@pytest.fixture
def make_engine():
    engines = []

    def make(pipelines, **options):
        engines.append(Engine(pipelines, **({"on_device_lost": lambda error: None} | options)))
        engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()


@pytest.mark.parametrize("ending", ["begin", "predict", "advance", "finish", None])
def test_however_its_samples_end_a_model_is_free_again(make_engine, ending):
    pipelines = warm(Device(1), A, B)
    engine = make_engine(pipelines)

    def fail(name, samples, rows):
        if name == ending:
            raise RuntimeError("it broke")

    pipelines.get("a").before = fail
    samples = of(A, 2)

    engine.submit(samples)
    for sample in samples:
        sample.done.exception(SECONDS)

    pipelines.pin(of(B), timeout=0)


def test_a_cancelled_sample_keeps_its_model_until_the_engine_lets_go(make_engine, threads):
    pipelines = warm(Device(1), A, B)
    engine = make_engine(pipelines)
    stepping, go_on = threading.Event(), threading.Event()

    def hold(name, samples, rows):
        stepping.set()
        assert go_on.wait(SECONDS)

    pipelines.get("a").before = hold
    (sample,) = samples = of(A)
    engine.submit(samples)
    assert stepping.wait(SECONDS)
    sample.done.cancel()
    with pytest.raises(TimedOut):
        pipelines.pin(of(B), timeout=0)

    go_on.set()

    assert pipelines.pin(of(B), timeout=SECONDS).card is B


def test_prompts_that_are_refused_leave_the_model_free(make_engine):
    pipelines = warm(Device(1), A, B)
    engine = make_engine(pipelines)
    pipelines.get("a").prepare = lambda sample: int("no number")

    with pytest.raises(ValueError, match="no number"):
        engine.submit(of(A))

    pipelines.pin(of(B), timeout=0)


def test_an_idle_engine_does_not_keep_an_evicted_model(make_engine):
    device = Device(1)
    pipelines = warm(device, A, B)
    engine = make_engine(pipelines)
    (sample,) = samples = of(A)
    engine.submit(samples)
    sample.done.result(SECONDS)

    pipelines.pin(of(B))

    wait_until(lambda: device.alive["a"]() is None)


def test_jobs_of_more_models_than_fit_all_end(make_engine, threads):
    device = Device(2)
    engine = make_engine(warm(device))
    jobs = [of(card, 2) for card in (A, B, C, C, B, A, B, C, A)]

    for submitted in [threads.submit(engine.submit, samples) for samples in jobs]:
        submitted.result(SECONDS)

    assert all(sample.done.result(SECONDS).steps for samples in jobs for sample in samples)
    assert device.held("abc") <= 2


def test_a_device_that_is_lost_while_a_model_loads_is_reported(make_engine):
    device = Device(1)
    device.fails["b"] = DeviceLost("CUDA error")
    lost = []
    engine = make_engine(warm(device, A, B), on_device_lost=lost.append)

    with pytest.raises(DeviceLost):
        engine.submit(of(B))

    assert [str(error) for error in lost] == ["CUDA error"]
