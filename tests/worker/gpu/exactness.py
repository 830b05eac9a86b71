"""How exact the engine is: `python -m tests.worker.gpu.exactness 300` runs that many random mixes.

What they came to is written into infra/docs/engine.md, and whatever is further from diffusers alone
than fp32 rounding usually goes is printed. Ctrl-C ends it early: what was run by then counts.
"""

import argparse
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import diffusers
import torch
import transformers

from infra.local.child import ROOT
from shared.schedulers import SCHEDULERS
from tests.worker.gpu.mixes import MODELS, Stage, Verdict, card_of, family_of, judge, mix
from tests.worker.gpu.plain import EXACT, OWN, Plain
from tests.worker.gpu.tiny_models import save
from tests.worker.gpu.tiny_sd import save_tiny_sd
from worker.gpu.families import load

PAGE = ROOT / "infra" / "docs" / "engine.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
NEVER = "-"


def main() -> int:
    """Run, write and print; 1 if a sample is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.worker.gpu.exactness")
    parser.add_argument("mixes", type=int, help="how many, from number 0 on")
    count = parser.parse_args().mixes
    warnings.filterwarnings("ignore")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    mixes: list[list[Verdict]] = []
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        for verdicts in measure(Path(folder), count):
            mixes.append(verdicts)
            _tell(len(mixes), verdicts)
    head, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(head + BEGIN + report(mixes) + END + rest.partition(END)[2])
    return int(not all(verdict.is_exact for verdicts in mixes for verdict in verdicts))


def measure(folder: Path, count: int) -> Iterator[list[Verdict]]:
    """Every sample of every mix."""
    demo = save_tiny_sd(folder / "demo")
    folders = {model: save(folder / model, model, demo) for model in MODELS}
    plains = {model: Plain(source, family_of(model)) for model, source in folders.items()}
    stage = Stage({model: load(card_of(model, at), "cpu") for model, at in folders.items()})
    try:
        for number in range(count):
            played = stage.play(mix(number), random.Random(number))
            yield [judge(plains[each.sample.model_id], each) for each in played]
    finally:
        stage.engine.stop()


def report(mixes: Sequence[Sequence[Verdict]]) -> str:
    """What is written into the page."""
    verdicts = [verdict for each in mixes for verdict in each]
    amplified = [verdict for verdict in verdicts if verdict.spread is not None]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers"))
    text = (
        f"Measured {datetime.now(UTC):%Y-%m-%d} on a CPU in fp32, {packages}:\n"
        f"{len(mixes)} mixes of {len(verdicts)} samples. Within {EXACT:.0e} of diffusers alone: "
        f"{len(verdicts) - len(amplified)}."
    )
    if amplified:
        furthest = max(verdict.error for verdict in amplified)
        spreads = max(verdict.error / verdict.spread for verdict in amplified)
        text += (
            f" The other {len(amplified)} are amplified rounding: the furthest {furthest:.1e},\n"
            f"and none further than {spreads:.1f} times what diffusers differs from itself in "
            "batches of 2, 4 and 8."
        )
    return f"{text}\n\n{table(verdicts)}\n"


def table(verdicts: Sequence[Verdict]) -> str:
    """The worst of each scheduler that ran and model, in Markdown."""
    worst: dict[tuple[str, str], float] = {}
    for verdict in verdicts:
        sample = verdict.sample
        if not sample.total:  # no scheduler took a step
            continue
        cell = sample.done.result().scheduler or sample.scheduler, sample.model_id
        worst[cell] = max(worst.get(cell, 0.0), verdict.error)
    rows = [["", *MODELS], ["---"] * (1 + len(MODELS))]
    for name in (*SCHEDULERS, OWN):
        cells = [worst.get((name, model)) for model in MODELS]
        rows.append([f"`{name}`", *(NEVER if c is None else f"{c:.1e}" for c in cells)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _tell(number: int, verdicts: Sequence[Verdict]) -> None:
    for verdict in verdicts:
        if verdict.spread is not None:
            told = "" if verdict.is_exact else "NOT EXACT: "
            sys.stdout.write(f"\rmix {number - 1}: {told}{verdict}\n")
    sys.stdout.write(f"\r{number} mixes")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
