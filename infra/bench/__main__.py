"""`make bench`: measure, print what was asked beside what was measured, keep the numbers."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from infra.bench.goals import every_row, goals, markdown
from infra.bench.plots import draw
from infra.bench.report import PARTS, QUICK, Effort, Finding, Row, environment, save, table

RESULTS = Path(__file__).with_name("results")
WIDTH = 140
"""Of the tables in a file or a pipe."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for."""
    asked = _arguments(arguments)
    if asked.show:
        return _show(asked.show)
    # Before they are imported: what they print would run into the progress.
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    effort = QUICK if asked.quick else Effort()
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    begun, about = time.monotonic(), environment()
    findings, about["seconds_by_part"] = _measure(asked.only, effort, console)
    about["seconds"] = round(time.monotonic() - begun)
    for finding in findings.values():
        if finding.detail:
            console.print(finding.detail)
    rows = every_row(findings, PARTS)
    if any(not row.is_goal for row in rows):
        console.print(_also(rows))
    console.print(table(goals(rows)))
    path = save(asked.out, effort, findings, rows, about)
    drawn = [one for finding in findings.values() for one in draw(finding.curves, path)]
    console.print(f"{about['seconds']} s; all numbers: {path}; beside it {len(drawn)} curves")
    return 0


def _show(path: Path) -> int:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if "table" not in record:
        print(f"error: {path} is no result of `make bench`", file=sys.stderr)
        return 1
    print(markdown(record))
    return 0


def _also(rows: Sequence[Row]) -> Table:
    drawn = Table("nothing asked", "measured")
    for row in rows:
        if not row.is_goal:
            drawn.add_row(row.what, row.measured)
    return drawn


def _measure(
    parts: Sequence[str], effort: Effort, console: Console
) -> tuple[dict[str, Finding], dict[str, int]]:
    """What each part found, and in how many seconds."""
    bar = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[doing]}"))
    findings, seconds = {}, {}
    with Progress(TextColumn("{task.description:>10}"), *bar, console=console) as progress:
        for part in parts:
            task = progress.add_task(part, total=1.0, doing="starting")

            def watch(share: float, doing: str, task=task) -> None:
                progress.update(task, completed=share, doing=doing)

            begun = time.monotonic()
            findings[part] = import_module(f"infra.bench.{part}").measure(effort, watch)
            seconds[part] = round(time.monotonic() - begun)
            watch(1.0, "done")
    return findings, seconds


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    parser.add_argument("--quick", action="store_true", help="tiny numbers: only whether it runs")
    parser.add_argument("--show", type=Path, metavar="FILE", help="the table of a run, as Markdown")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
