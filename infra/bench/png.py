"""Exact PNGs of a photograph: our writer beside Pillow's, by time and by size."""

import io

import numpy as np
from PIL import Image

from infra.bench.report import ROOT, Effort, Finding, Row, Stopwatch, Watch, ratio_row
from worker.gpu.encoding import encode
from worker.gpu.samples import Pixels

PHOTO = ROOT / "infra" / "demo" / "astronaut.jpg"
SIDES = (512, 1024)
"""Pixels; the photograph itself has 512."""
LEAST_SPEED, MOST_SIZE = 20, 1.15


def measure(effort: Effort, watch: Watch) -> Finding:
    """One picture after the other, in turns; CPU time, since each keeps one core busy."""
    writers = {"ours": encode, "pillow": _pillow}
    results, rows = {}, []
    for number, side in enumerate(SIDES):
        watch(number / len(SIDES), f"{side} pixels")
        pixels = np.asarray(Image.open(PHOTO).convert("RGB").resize((side, side)))
        seconds: dict[str, list[float]] = {name: [] for name in writers}
        for _ in range(effort.png_rounds):
            for name, write in writers.items():
                with Stopwatch() as stopwatch:
                    write(pixels)
                seconds[name].append(stopwatch.cpu)
        sizes = {name: len(write(pixels)) for name, write in writers.items()}
        results[str(side)] = {"cpu_seconds": seconds, "bytes": sizes}
        size = sizes["ours"] / sizes["pillow"]
        rows += [
            ratio_row(
                f"PNG, {side} px: Pillow's time / ours",
                seconds["pillow"],
                seconds["ours"],
                least=LEAST_SPEED,
            ),
            Row(
                "  our size / Pillow's", f"{size:.2f}x", f"at most {MOST_SIZE}x", size <= MOST_SIZE
            ),
        ]
    return Finding(results, rows)


def _pillow(pixels: Pixels) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()
