"""The two ways through which the same requests go, and what each way costs: time, steps, cores."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from infra.bench.processes import cpu_by_process
from infra.bench.serving_load import SIDE, Customers, Request
from infra.local import Stack
from infra.local.ports import HOST, free_port
from infra.simulated.device import CountingModel, Simulated
from shared.models import ModelCard
from worker.gpu.engine import Engine
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.samples import Sample

MODEL, WORKER = "demo", "simulated"
CAP = 4
"""Samples a step, as the allow-list has it for the demo model."""
MEMORY = Path("/dev/shm")  # noqa: S108  # nosec B108
"""Where there is room the service's files are in a folder of it, bucket, Redis's and logs: a disk
takes its time, and is not ours."""
ROOM = 2**29
"""Bytes: more than a run writes."""
DEVICE = Simulated(step_time=timedelta(milliseconds=7), full_at=2)
"""About as fast as Stable Diffusion 1.5 on a large card, at 512x512."""


@dataclass(frozen=True)
class Round:
    """What one line of requests took, all of them sent at once."""

    images: int
    seconds: float
    """From the first request to the last picture, or webhook."""
    steps: int
    rows: int
    in_steps: float
    """Seconds that the engine's thread was in a denoiser call."""
    in_device: float
    """Seconds that those calls had to take."""
    cpu: Mapping[str, float]
    """Seconds of each process, those that it started included."""

    @property
    def per_second(self) -> float:
        """Images."""
        return self.images / self.seconds

    @property
    def between(self) -> float:
        """Seconds between steps, in those of the device."""
        return (self.seconds - self.in_steps) / self.in_device

    @property
    def late(self) -> float:
        """Seconds that steps took longer than they had to, in those of the device."""
        return self.in_steps / self.in_device - 1

    @property
    def cores(self) -> float:
        """How many were busy, on average."""
        return sum(self.cpu.values()) / self.seconds

    def results(self) -> dict[str, Any]:
        """As they are kept."""
        names = ("per_second", "between", "late", "cores")
        cpu = {name: 1000 * seconds / self.images for name, seconds in self.cpu.items()}
        return {
            **asdict(self),
            **{name: getattr(self, name) for name in names},
            "cpu_milliseconds_per_image": cpu,
        }


def _where() -> Path | None:
    has_room = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    return MEMORY if has_room else None


@contextmanager
def service() -> Iterator[tuple[Stack, Customers, Callable[[Sequence[Request]], Round]]]:
    """The whole service, its customers, and what a line of requests costs it."""
    port = free_port()
    env = {
        "IMG2IMG_STEP_TIME": str(DEVICE.step_time.total_seconds()),
        "IMG2IMG_METRICS_PORT": str(port),
        "IMG2IMG_OUTBOUND_ALLOW": HOST,
    }
    with (
        tempfile.TemporaryDirectory(dir=_where()) as folder,
        Stack(
            folder, port=0, env=env, processes=("redis", "s3", WORKER, "courier", "api")
        ) as stack,
        httpx.Client(base_url=f"http://{HOST}:{port}") as worker,
    ):
        customers = Customers(stack, WORKER)

        def serve(line: Sequence[Request]) -> Round:
            return _round(
                len(line),
                work=lambda: customers.send(line, [0.0] * len(line)),
                metrics=lambda: worker.get("/metrics").text,
                cpu=lambda: cpu_by_process(stack),
            )

        with customers.open():
            yield stack, customers, serve


@contextmanager
def engine() -> Iterator[Callable[[Sequence[Request]], Round]]:
    """The engine of this process, and what a line of samples costs it."""
    card = ModelCard(model_id=MODEL, family="sd", source=Path("nowhere"), max_batch=CAP)
    pipelines = WarmPipelines([card], "cpu", lambda card, _: CountingModel(card, DEVICE))
    engine = Engine(pipelines, on_device_lost=print)

    def paint(line: Sequence[Request]) -> None:
        samples = [_sample(request) for request in line]
        engine.submit(samples)
        for sample in samples:
            sample.done.result()

    engine.start()
    try:
        yield lambda line: _round(
            len(line),
            work=lambda: paint(line),
            metrics=lambda: generate_latest().decode(),
            cpu=lambda: {"engine": time.process_time()},
        )
    finally:
        engine.stop()


def _sample(request: Request) -> Sample:
    return Sample(
        job_id=request.seed,
        model_id=MODEL,
        prompt="an astronaut",
        negative_prompt="",
        image=np.zeros((SIDE, SIDE, 3), np.uint8),
        mask=None,
        height=SIDE,
        width=SIDE,
        steps=request.steps,
        strength=request.strength,
        guidance_scale=request.guidance,
        scheduler="DDIMScheduler",
        seed=request.seed,
    )


def _round(
    images: int,
    work: Callable[[], object],
    metrics: Callable[[], str],
    cpu: Callable[[], dict[str, float]],
) -> Round:
    before, spent, began = _counts(metrics()), cpu(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    after, spending = _counts(metrics()), cpu()
    steps, rows, lone, in_steps = (now - then for now, then in zip(after, before, strict=True))
    # A step takes as long as one of `full_at` rows, whether it has as many or not.
    full = rows + (DEVICE.full_at - 1) * lone
    return Round(
        images=images,
        seconds=seconds,
        steps=int(steps),
        rows=int(rows),
        in_steps=in_steps,
        in_device=full * DEVICE.step_time.total_seconds() / DEVICE.full_at,
        cpu={name: spending[name] - spent[name] for name in spending},
    )


def _counts(metrics: str) -> tuple[float, float, float, float]:
    """Steps, rows, steps of a single row, and seconds in steps, since the process began."""
    families = text_string_to_metric_families(metrics)
    samples = [sample for family in families for sample in family.samples]
    values = {sample.name + sample.labels.get("le", ""): sample.value for sample in samples}
    rows = values["img2img_engine_rows_total"] + values["img2img_engine_padded_rows_total"]
    lone = values["img2img_engine_batch_occupancy_bucket1.0"]
    seconds = values["img2img_engine_step_seconds_sum"]
    return values["img2img_engine_steps_total"], rows, lone, seconds
