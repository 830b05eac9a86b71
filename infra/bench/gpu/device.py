"""Clocks, memory and peak rates of the device, and what it is."""

import gc
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from infra.bench.gpu.plan import Plan

WARM_UP = 3
FEWEST, LONGEST = 3, 20.0
"""Of one measurement: repeats at the least, and seconds about at the most."""
GIB = 2**30
SMALLEST = 2 * 2**20
"""Bytes that CUDA gives at the least."""
QUERY = "name,driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu,memory.used"


def is_there() -> bool:
    """Whether torch sees a CUDA device."""
    return torch.cuda.is_available()


def seconds(plan: Plan, run: Callable[[], Any]) -> list[float]:
    """Of each of the repeats, by the device's own clock; the first few are not counted."""
    for _ in range(WARM_UP):
        run()
    once = _wall(plan, run)
    repeats = max(FEWEST, min(plan.repeats, int(LONGEST / once)))
    if not plan.is_cuda:
        return [_wall(plan, run) for _ in range(repeats)]
    marks = [torch.cuda.Event(enable_timing=True)]
    marks[0].record()
    for _ in range(repeats):
        run()
        marks.append(torch.cuda.Event(enable_timing=True))
        marks[-1].record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1000 for start, end in pairwise(marks)]


def peak_rates(plan: Plan) -> dict[str, float]:
    """The largest matrix product, in TFLOP/s, and copy, in GB/s; random numbers, never zeros."""
    side = 128 if plan.tiny else 8192
    left, right = (_random(plan, side, side) for _ in range(2))
    source = _random(plan, side, side * 8)
    target = torch.empty_like(source)
    product = median(seconds(plan, lambda: left @ right))
    copy = median(seconds(plan, lambda: target.copy_(source)))
    moved = 2 * source.numel() * source.element_size()
    return {"matmul_tflops": 2 * side**3 / product / 1e12, "copy_gb_per_s": moved / copy / 1e9}


def state(plan: Plan) -> dict[str, Any]:
    """Name, driver, clocks, power and heat at this moment."""
    if not plan.is_cuda:
        return {"name": "CPU"}
    properties = torch.cuda.get_device_properties(plan.device)
    found = {"name": properties.name, "memory_gib": round(properties.total_memory / GIB, 1)}
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return found
    # The first card's: the others are hidden by CUDA_VISIBLE_DEVICES or left alone.
    values = said.stdout.splitlines()[0].split(", ")
    return found | dict(zip(QUERY.split(","), values, strict=True))


def release(plan: Plan) -> None:
    """Give back what the last case held."""
    if plan.is_cuda:
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()


def synchronise(plan: Plan) -> None:
    """Wait for the device."""
    if plan.is_cuda:
        torch.cuda.synchronize()


def held(plan: Plan) -> int:
    """Bytes of living tensors."""
    return torch.cuda.memory_allocated() if plan.is_cuda else 0


def peak(plan: Plan, run: Callable[[], Any]) -> int:
    """The most bytes of tensors at any moment of a run."""
    if not plan.is_cuda:
        run()
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


@contextmanager
def filled(plan: Plan, leave: int) -> Iterator[None]:
    """So many bytes of the device are left, as if another process held the rest."""
    if not plan.is_cuda:
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    ballast, size = [], GIB
    while size >= SMALLEST:
        free, _ = torch.cuda.mem_get_info()
        try:
            if size <= free - leave:
                ballast.append(torch.empty(size, dtype=torch.uint8, device=plan.device))
                continue
        except torch.OutOfMemoryError:
            pass
        size //= 2
    try:
        yield
    finally:
        ballast.clear()
        torch.cuda.empty_cache()


@contextmanager
def full_float32() -> Iterator[None]:
    """No shortened multiplications: for references."""
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = convolution


def _wall(plan: Plan, run: Callable[[], Any]) -> float:
    synchronise(plan)
    started = time.perf_counter()
    run()
    synchronise(plan)
    return time.perf_counter() - started


def _random(plan: Plan, *shape: int) -> Any:
    return torch.randn(*shape, device=plan.device, dtype=torch.bfloat16)
