"""Schedulers by the names that requests use: which diffusers class runs, and set how."""

from dataclasses import dataclass, field
from typing import Literal

Options = dict[str, bool | int | str]
"""What a class is made with beside the model's own config."""
Algorithm = Literal["none", "dpmsolver++", "dpmsolver+++", "sde-dpmsolver++"]

KARRAS, ALGORITHM, ORDER = "use_karras_sigmas", "algorithm_type", "solver_order"
SDE: Literal["sde-dpmsolver++"] = "sde-dpmsolver++"

ALGORITHMS: dict[Algorithm | None, str | None] = {
    None: None,
    "none": None,
    "dpmsolver++": "dpmsolver++",
    # The public API's own spelling; its table of names writes "DPM++ 2M SDE" so.
    "dpmsolver+++": SDE,
    SDE: SDE,
}

SCHEDULERS: dict[str, frozenset[str]] = {
    "DDPMScheduler": frozenset(),
    "DDIMScheduler": frozenset(),
    "PNDMScheduler": frozenset(),
    "LMSDiscreteScheduler": frozenset({KARRAS}),
    "EulerDiscreteScheduler": frozenset({KARRAS}),
    "EulerAncestralDiscreteScheduler": frozenset(),
    "DPMSolverMultistepScheduler": frozenset({KARRAS, ALGORITHM}),
    "HeunDiscreteScheduler": frozenset({KARRAS}),
    "KDPM2DiscreteScheduler": frozenset({KARRAS}),
    "DPMSolverSinglestepScheduler": frozenset({KARRAS, ALGORITHM}),
    "KDPM2AncestralDiscreteScheduler": frozenset({KARRAS}),
    "UniPCMultistepScheduler": frozenset({KARRAS}),
    "DEISMultistepScheduler": frozenset({KARRAS}),
    "LCMScheduler": frozenset(),
}
"""The diffusers classes that can serve a request, and which of its options each takes."""

UNFIT = {
    "DDIMInverseScheduler": "it goes from an image to noise",
    "IPNDMScheduler": "its timesteps run from 1 to 0, and it cannot add noise to an image",
    "KarrasVeScheduler": "it is for models of exploding variance, and predicts twice a step",
    "ScoreSdeVeScheduler": "it is for models of exploding variance",
}
"""Names of the public list that the model's own scheduler stands in for, and why."""

Start = Literal["text", "image", "mask"]
"""What a request starts from: its text alone, an image, or an image and a mask."""
FROM_TEXT = frozenset(
    {
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "UniPCMultistepScheduler",
    }
)
NONE: frozenset[str] = frozenset()
FLOW_FITS: dict[str, dict[Start, frozenset[str]]] = {
    "flux": {"text": FROM_TEXT, "image": NONE, "mask": NONE},
    "kontext": {"text": FROM_TEXT, "image": frozenset({"UniPCMultistepScheduler"}), "mask": NONE},
}
"""Families of flow-matching models, and what can serve there without options; for everything else
the model's own scheduler stands in. From text a checkpoint may take fewer, as its result says."""

A1111: dict[str, tuple[str, Options]] = {
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "LMS": ("LMSDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {}),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {ALGORITHM: SDE}),
    "DPM++ 3M SDE": ("DPMSolverMultistepScheduler", {ALGORITHM: SDE, ORDER: 3}),
    "DPM++ SDE": ("DPMSolverSinglestepScheduler", {ALGORITHM: SDE}),
    "DDIM": ("DDIMScheduler", {}),
    "DDPM": ("DDPMScheduler", {}),
    "DEIS": ("DEISMultistepScheduler", {}),
    "LCM": ("LCMScheduler", {}),
    "PLMS": ("PNDMScheduler", {}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}
"""The web UI's names; " Karras" may follow where the class takes it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A diffusers class and what it is made with."""

    name: str
    options: Options = field(default_factory=dict)


class UnknownScheduler(ValueError):
    """The name is on no list; the text says which names are."""


def fitting(family: str, start: Start) -> frozenset[str] | None:
    """The classes that can serve a family beside the model's own; None: every one."""
    return FLOW_FITS[family][start] if family in FLOW_FITS else None


def choose(
    asked: str | None,
    default: str,
    *,
    fits: frozenset[str] | None = None,
    karras: bool | None = None,
    algorithm: Algorithm | None = None,
) -> Choice:
    """What runs for a request; `default`, a class, serves without a name and for an unfit one.

    `fits` is what `fitting` says. An option that the class does not take is left out; a field of
    the request wins over what the name implies. Raises UnknownScheduler.
    """
    named = Choice(default) if asked is None else _named(asked, default)
    if fits is not None:
        return Choice(named.name if named.name in fits else default)
    wanted = {KARRAS: karras, ALGORITHM: ALGORITHMS[algorithm]}
    taken = SCHEDULERS.get(named.name, frozenset())
    given: Options = {
        name: value for name, value in wanted.items() if value is not None and name in taken
    }
    return Choice(named.name, named.options | given)


def web_ui_name(choice: Choice) -> str:
    """The web UI's name of it; the class's own where the web UI has none."""
    options = {name: value for name, value in choice.options.items() if name != KARRAS}
    suffix = " Karras" if choice.options.get(KARRAS) else ""
    names = (short for short, known in A1111.items() if known == (choice.name, options))
    return next((f"{short}{suffix}" for short in names), choice.name)


def _named(asked: str, default: str) -> Choice:
    spelling = _spelling(asked)
    if spelling in UNFIT_SPELLINGS or spelling == _spelling(default):
        return Choice(default)
    if spelling not in CHOICES:
        names = ", ".join((*SCHEDULERS, *UNFIT, *A1111))
        raise UnknownScheduler(f'must be one of {names}; " Karras" may follow the short ones')
    return CHOICES[spelling]


def _spelling(name: str) -> str:
    return " ".join(name.split()).casefold()


def _choices() -> dict[str, Choice]:
    choices = {_spelling(name): Choice(name) for name in SCHEDULERS}
    for short, (name, options) in A1111.items():
        choices[_spelling(short)] = Choice(name, options)
        if KARRAS in SCHEDULERS[name]:
            choices[_spelling(f"{short} Karras")] = Choice(name, options | {KARRAS: True})
    return choices


CHOICES = _choices()
UNFIT_SPELLINGS = frozenset(map(_spelling, UNFIT))
