"""The demo model, built by a process of its own, since that needs torch."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from infra.local.child import ROOT, die_with
from infra.local.keeper import StackError

PATIENCE = 300
"""Seconds it may take."""


def build_demo_model(folder: Path, *, log: Path, say: Callable[[str], None]) -> None:
    """Build it unless it is there."""
    if (folder / "model_index.json").exists():
        return  # asking the builder would import torch
    say(f"building the demo model in {folder}")
    parent = os.getpid()
    with log.open("wb") as output:
        try:
            subprocess.run(
                (sys.executable, "-m", "infra.demo_model.build", str(folder)),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                check=True,
                preexec_fn=lambda: die_with(parent),
            )
        except subprocess.SubprocessError as error:
            end = log.read_text(errors="replace")[-3000:]
            raise StackError(f"no demo model: {error}\nThe end of {log}:\n{end}") from error
