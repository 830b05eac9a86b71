"""A training loop that can be stopped at any time and goes on where it was."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SAVE_EVERY = 250
RECENT = 50
EMA = 0.998
Look = Callable[[Any, int], None]
"""Shows what the averaged module can do after so many steps."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn: the rate rises, stays, and falls from a share of steps on."""

    steps: int
    rate: float
    warm_up: int = 200
    fall_from: float = 0.6
    seed: int = 7

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        left = (self.steps - step) / ((1 - self.fall_from) * self.steps)
        return self.rate * min(1.0, (step + 1) / self.warm_up, left)


class Run:
    """A module in training, its moving average, and all that it takes to go on with it."""

    def __init__(self, module: Any, state: Path) -> None:
        """Goes on from the state where there is one."""
        self.module = module
        self.averaged = copy.deepcopy(module).eval().requires_grad_(False)
        weights = module.parameters()
        self.optimizer = torch.optim.AdamW(weights, weight_decay=0.01, betas=(0.9, 0.98))
        self.losses: list[float] = []
        self._state = state
        if state.exists():
            saved = torch.load(state, weights_only=True)
            self.losses = saved.pop("losses")
            for name, content in saved.items():
                getattr(self, name).load_state_dict(content)

    def step(self, loss: Any, rate: float) -> None:
        """Descend a little."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        decay = min(EMA, (1 + len(self.losses)) / (10 + len(self.losses)))
        for mean, new in zip(self.averaged.parameters(), self.module.parameters(), strict=True):
            mean.lerp_(new.detach(), 1 - decay)
        self.losses.append(loss.item())

    def save(self) -> None:
        """All or nothing."""
        names = ("module", "averaged", "optimizer")
        draft = self._state.with_suffix(".draft")
        content = {name: getattr(self, name).state_dict() for name in names}
        torch.save(content | {"losses": self.losses}, draft)
        draft.rename(self._state)


def fit(
    module: Any, loss_of: Callable[[Any, int], Any], plan: Plan, state: Path, *, look: Look
) -> tuple[Any, list[float]]:
    """Minimise `loss_of(module, step)`; the averaged module, and the loss of every step.

    Each step has random numbers of its own, so a resumed run is the same as an uninterrupted one.
    """
    run = Run(module, state)
    module.train()
    with _progress() as progress:
        task = progress.add_task(state.stem, total=plan.steps, completed=len(run.losses), loss=0.0)
        for step in range(len(run.losses), plan.steps):
            torch.manual_seed(plan.seed * 1_000_003 + step)
            run.step(loss_of(module, step), plan.rate_at(step))
            recent = run.losses[-RECENT:]
            progress.update(task, advance=1, loss=sum(recent) / len(recent))
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == plan.steps:
                run.save()
                look(run.averaged, step + 1)
    return run.averaged, run.losses


def _progress() -> Progress:
    loss = TextColumn("loss {task.fields[loss]:.4f}")
    columns = (BarColumn(), MofNCompleteColumn(), loss, TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *columns)
