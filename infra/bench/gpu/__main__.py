"""`make bench-gpu`: what this card does, as raw numbers, and beside what was asked of it.

Every case is written to the result file as soon as it is there: a run that is killed keeps what
it had. What failed or found no time is in the table too.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.bench.gpu.plan import QUICK, Part, Plan
from infra.bench.report import Finding, Row, environment, table

PARTS = ("architectures", "exactness", "syncs", "curve", "throughput", "memory", "warm_start")
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "pillow")
RESULTS = Path(__file__).parents[1] / "results"
WIDTH = 140
SECONDS = 420
NO_DEVICE = "error: torch sees no CUDA device; `--tiny --device cpu` rehearses the run"


@dataclass(frozen=True)
class Record:
    """The result file, written anew after every case."""

    path: Path
    head: dict[str, Any]
    findings: dict[str, Finding]

    def add(self, name: str, finding: Finding) -> None:
        """Keep it, on the disk too."""
        self.findings[name] = finding
        body = {
            "results": {name: finding.results for name, finding in self.findings.items()},
            "table": [asdict(row) for row in self.rows],
        }
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(self.head | body, indent=1) + "\n")
        draft.replace(self.path)

    @property
    def rows(self) -> list[Row]:
        """Of all cases."""
        return [row for finding in self.findings.values() for row in finding.rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for; 1 when a case failed."""
    asked = _arguments(arguments)
    # Before they are imported: what they print would run into the tables.
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    from infra.bench.gpu import device  # noqa: PLC0415

    plan = _plan(asked)
    if plan.is_cuda and not device.is_there():
        print(NO_DEVICE, file=sys.stderr)
        return 2
    logging.disable(logging.WARNING)
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    record = begin(asked.out, plan, device.state(plan))
    failed = 0
    for name, finding in _findings(asked.only, plan):
        record.add(name, finding)
        failed += "error" in finding.results
        console.print(f"\n{name}: {finding.results['seconds']:.0f} s", style="bold")
        for row in finding.rows:
            console.print(f"  {row.what}: {row.measured}", highlight=False, markup=False)
    console.print(shown(record.rows))
    console.print(f"all numbers: {record.path}")
    return int(failed > 0)


def shown(rows: Sequence[Row]) -> Table:
    """The table; a line of code in it may have brackets, which are no marks of style."""
    return table([replace(r, what=escape(r.what), measured=escape(r.measured)) for r in rows])


def _findings(parts: Sequence[str], plan: Plan) -> Iterator[tuple[str, Finding]]:
    for part in parts:
        module: Part = import_module(f"infra.bench.gpu.{part}")  # type: ignore[assignment]
        for case in module.cases(plan):
            yield f"{part}, {case}", measured(module, plan, part, case)


def measured(module: Part, plan: Plan, part: str, case: str) -> Finding:
    """What a case found, or that it failed, or found no time."""
    from infra.bench.gpu import device  # noqa: PLC0415

    begun = time.monotonic()
    if plan.is_late:
        row = Row(f"{part}, {case}", "not measured: no time left")
        return Finding({"skipped": True, "seconds": 0.0}, [row])
    try:
        finding = module.measure(plan, case)
    except Exception as error:  # noqa: BLE001  the other cases shall not be lost with it
        said = f"{type(error).__name__}: {str(error)[:300]}"
        finding = Finding({"error": said}, [Row(f"{part}, {case}", said, "runs", held=False)])
    device.release(plan)
    spent = time.monotonic() - begun
    return replace(finding, results=finding.results | {"seconds": spent})


def begin(folder: Path, plan: Plan, device_state: dict[str, Any]) -> Record:
    """A record of nothing yet, named by the time."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = datetime.now(UTC)
    head = {
        "date": begun.isoformat(timespec="seconds"),
        "device": device_state,
        "environment": environment(PACKAGES),
        "plan": {**asdict(plan), "until": None},
    }
    return Record(folder / f"{begun:%Y-%m-%d-%H%M%S}-gpu.json", head, {})


def _plan(asked: argparse.Namespace) -> Plan:
    return Plan(
        device=asked.device,
        tiny=asked.tiny,
        models=tuple(asked.models),
        forms=tuple(asked.forms),
        compile_mode=asked.compile_mode,
        until=time.monotonic() + asked.seconds,
        **(QUICK if asked.quick else {}),
    )


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.bench.gpu", description=__doc__)
    models, forms = Plan().models, Plan().forms
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--models", nargs="+", choices=models, default=models, metavar="MODEL")
    parser.add_argument("--forms", nargs="+", choices=forms, default=forms, metavar="FORM")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="no case begins after it")
    parser.add_argument("--quick", action="store_true", help="few repeats, small batches")
    parser.add_argument("--tiny", action="store_true", help="miniatures: only whether it runs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile-mode", default=Plan().compile_mode)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
