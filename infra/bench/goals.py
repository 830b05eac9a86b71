"""The closing table: every goal, what was measured for it, and whether it holds."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from infra.bench.report import Finding, Row

ELSEWHERE = "unmeasured: `make bench-gpu` on a CUDA machine"
ON_A_GPU = {
    "SD 1.5, 512 px: share of the matrix rate": "at least 50%",
    "SD 1.5, 512 px: images/s / plain diffusers": "at least 5x",
    "SD 1.5, 512 px: images/s / the same model compiled, one at a time": "at least 1.5x",
    "SDXL, 1024 px: share of the matrix rate": "at least 60%",
    "SDXL, 1024 px: images/s / plain diffusers": "at least 2.5x",
    "Flux dev, 1024 px: share of the matrix rate": "at least 70%",
    "Flux dev, 1024 px: images/s / plain diffusers": "at least 1.7x",
    "bf16: error against float32 / that of plain diffusers in bf16": "at most 1.25x",
    "same bits, whoever the neighbours are": "yes",
    "scheduling goals on the step times of the card": "as in the simulation",
    "device busy at saturation": "at least 97%",
    "idle because of copies and encoding": "below 0.5%",
    "from a warm compile cache to the first image, SD 1.5 and SDXL": "at most 60 s",
    "compiled after warm-up": "0",
}
"""What only a card can show, and what is asked of it."""


def every_row(findings: dict[str, Finding], parts: Sequence[str]) -> list[Row]:
    """What was measured, then the goals of the parts that were left out and those for a card."""
    found = [row for finding in findings.values() for row in finding.rows]
    left_out = [Row(part, "not run", "its goals") for part in parts if part not in findings]
    on_a_gpu = [Row(f"on a GPU: {what}", ELSEWHERE, least) for what, least in ON_A_GPU.items()]
    return [*found, *left_out, *on_a_gpu]


def goals(rows: Iterable[Row]) -> list[Row]:
    """The rows that are goals; an indented one says whose it is, as it stands alone now."""
    heading, kept = "", []
    for row in rows:
        if not row.what.startswith(" "):
            heading = row.what.partition(":")[0]
        if row.is_goal:
            alone = f"{heading}: {row.what.strip()}" if row.what.startswith(" ") else row.what
            kept.append(replace(row, what=alone))
    return kept


def markdown(record: dict[str, Any]) -> str:
    """The closing table of a result file, below what it was measured on."""
    about = record["environment"]
    head = f"{record['date'][:10]}, commit {about['commit']}, {about['cpu_count']} cores"
    rows = goals(Row(**row) for row in record["table"])
    lines = [f"| {r.what} | {r.asked} | {r.measured} | {r.verdict} |" for r in rows]
    title = ["| goal | asked | measured | holds |", "| --- | --- | --- | --- |"]
    return "\n".join([f"{head}, torch {about['torch']}:", "", *title, *lines])
