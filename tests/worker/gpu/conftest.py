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


@pytest.fixture(scope="session")
def flux_cards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelCard]:
    from tests.worker.gpu.tiny_flux import build_flux  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("flux")
    return {
        kind: ModelCard(
            model_id=kind,
            family="flux",
            source=build_flux(folder / kind, kind=kind),
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
def plain_flux(flux_cards: dict[str, ModelCard]) -> dict[str, dict[str, Any]]:
    """The parts of diffusers' pipelines, which share nothing with ours but the files."""
    from diffusers import FluxImg2ImgPipeline  # noqa: PLC0415

    return {
        kind: FluxImg2ImgPipeline.from_pretrained(card.source).components
        for kind, card in flux_cards.items()
    }


@pytest.fixture(scope="session")
def plain(demo_folder: Path) -> dict[bool, Any]:
    from tests.worker.gpu.reference import plain_pipelines  # noqa: PLC0415  it imports torch

    return plain_pipelines(demo_folder)


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
