"""`make bench`: measure, print what was asked beside what was measured, keep the numbers."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from infra.bench.report import QUICK, Effort, Finding, environment, save, table

PARTS = ("engine", "scheduling", "door", "http_door", "fairness", "png", "eta")
RESULTS = Path(__file__).with_name("results")
WIDTH = 120
"""Of the tables in a file or a pipe."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for."""
    asked = _arguments(arguments)
    # Before they are imported: what they print would run into the progress.
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    effort = QUICK if asked.quick else Effort()
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    begun, about = time.monotonic(), environment()
    findings = _measure(asked.only, effort, console)
    about["seconds"] = round(time.monotonic() - begun)
    for finding in findings.values():
        if finding.detail:
            console.print(finding.detail)
    console.print(table([row for finding in findings.values() for row in finding.rows]))
    console.print(f"{about['seconds']} s; all numbers: {save(asked.out, effort, findings, about)}")
    return 0


def _measure(parts: Sequence[str], effort: Effort, console: Console) -> dict[str, Finding]:
    bar = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[doing]}"))
    findings = {}
    with Progress(TextColumn("{task.description:>10}"), *bar, console=console) as progress:
        for part in parts:
            task = progress.add_task(part, total=1.0, doing="starting")

            def watch(share: float, doing: str, task=task) -> None:
                progress.update(task, completed=share, doing=doing)

            findings[part] = import_module(f"infra.bench.{part}").measure(effort, watch)
            watch(1.0, "done")
    return findings


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    parser.add_argument("--quick", action="store_true", help="tiny numbers: only whether it runs")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
