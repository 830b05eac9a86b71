"""A tiny model in the place of the demo model, loaded once for the run, and engines that stop."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.models import Limits, ModelCard
from tests.worker.gpu.fakes import FakePipelines
from worker.gpu.engine import Engine
from worker.gpu.families import Pipeline, load


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch  # noqa: PLC0415  it takes seconds, and most tests here do without

    from tests.worker.gpu.tiny_sd import save_tiny_sd  # noqa: PLC0415

    torch.set_num_threads(1)  # several threads spin for one another where the cores are shared
    return save_tiny_sd(tmp_path_factory.mktemp("models") / "demo")


@pytest.fixture(scope="session")
def demo_card(demo_folder: Path) -> ModelCard:
    limits = Limits(default_side=256)
    return ModelCard(model_id="demo", family="sd", source=demo_folder, limits=limits)


@pytest.fixture(scope="session")
def demo(demo_card: ModelCard) -> Pipeline:
    return load(demo_card, "cpu")


@pytest.fixture
def vae_model(demo_folder: Path) -> Any:
    """The VAE of the demo model, to be spoiled."""
    from diffusers import AutoencoderKL  # noqa: PLC0415

    return AutoencoderKL.from_pretrained(demo_folder, subfolder="vae")


class Lazy(dict[str, Any]):
    """Makes what is missing when it is first asked for."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, name: str) -> Any:
        self[name] = self._make(name)
        return self[name]


@pytest.fixture(scope="session")
def folder_of(demo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny checkpoints of all kinds, by name."""
    from tests.worker.gpu.tiny_models import save  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("tiny")
    return Lazy(lambda model: save(folder / model, model, demo_folder))


@pytest.fixture(scope="session")
def ours(folder_of: dict[str, Path]) -> dict[str, Pipeline]:
    """The same, loaded."""
    from tests.worker.gpu.mixes import card_of  # noqa: PLC0415

    return Lazy(lambda model: load(card_of(model, folder_of[model]), "cpu"))


@pytest.fixture(scope="session")
def plains(folder_of: dict[str, Path]) -> dict[str, Any]:
    """What diffusers makes of the same files."""
    from tests.worker.gpu.mixes import family_of  # noqa: PLC0415
    from tests.worker.gpu.plain import Plain  # noqa: PLC0415

    return Lazy(lambda model: Plain(folder_of[model], family_of(model)))


@pytest.fixture(scope="session")
def flux_cards(folder_of: dict[str, Path]) -> dict[str, ModelCard]:
    return {
        kind: ModelCard(
            model_id=kind,
            family="flux",
            source=folder_of[f"flux-{kind}"],
            scheduler="FlowMatchEulerDiscreteScheduler",
            limits=Limits(multiple=16),
        )
        for kind in ("dev", "schnell")
    }


@pytest.fixture(scope="session")
def flux(flux_cards: dict[str, ModelCard]) -> dict[str, Pipeline]:
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    return {kind: load(card, "cpu") for kind, card in flux_cards.items()}


@pytest.fixture(scope="session")
def plain_flux(plains: dict[str, Any]) -> dict[str, Any]:
    return {kind: plains[f"flux-{kind}"] for kind in ("dev", "schnell")}


@pytest.fixture(scope="session")
def kontext_card(flux_cards: dict[str, ModelCard]) -> ModelCard:
    # Kontext has dev's parts to the last shape; what it was trained for is another matter.
    return flux_cards["dev"].model_copy(update={"model_id": "kontext", "family": "kontext"})


@pytest.fixture(scope="session")
def kontext(kontext_card: ModelCard) -> Pipeline:
    return load(kontext_card, "cpu")


@pytest.fixture(scope="session")
def plain_kontext(kontext_card: ModelCard) -> dict[str, Any]:
    from diffusers import FluxKontextPipeline  # noqa: PLC0415

    components: dict[str, Any] = FluxKontextPipeline.from_pretrained(kontext_card.source).components
    return components


@pytest.fixture(scope="session")
def plain(plains: dict[str, Any]) -> Any:
    return plains["sd"]


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    """Started engines over one pipeline."""
    engines: list[Engine] = []

    def make(pipeline: Pipeline, **options: Any) -> Engine:
        options = {"on_device_lost": lambda error: None} | options
        engines.append(Engine(FakePipelines(pipeline), **options))
        engines[-1].start()
        return engines[-1]

    yield make
    for engine in engines:
        engine.stop()
