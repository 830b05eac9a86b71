"""Which calls of a denoiser run compiled: dynamo is real, only its code generator is left out."""

from functools import partial
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from tests.worker.gpu.fakes import CARD
from worker.gpu.families.denoiser import Denoiser
from worker.gpu.metrics import RECOMPILES

WORDS = torch.ones(1, 77, 4)


class Network(torch.nn.Module):
    """Adds what it is told, and answers as the networks of diffusers do."""

    dtype, device = torch.float32, torch.device("cpu")
    offset = 0.0

    def forward(
        self, hidden: Any, *, encoder_hidden_states: Any, timestep: Any, return_dict: bool
    ) -> tuple[Any]:
        assert not return_dict
        return (hidden + encoder_hidden_states.mean() + timestep + self.offset,)


@pytest.fixture
def compiled(monkeypatch) -> CompileCounter:
    """Counts what is compiled, in place of the compiler."""
    torch.compiler.reset()
    counter, compile_really = CompileCounter(), torch.compile

    def compile_counted(module: Any, *, mode: str, dynamic: bool) -> Any:
        return compile_really(module, backend=counter, dynamic=dynamic)

    monkeypatch.setattr(torch, "compile", compile_counted)
    return counter


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def denoiser(compiled, network) -> Denoiser:
    return Denoiser(network, CARD.model_copy(update={"compile": "max-autotune"}))


call = partial(dict, encoder_hidden_states=WORDS, timestep=torch.tensor(3.0))


def test_a_shape_is_compiled_when_it_is_warmed_up_and_never_again(denoiser, compiled):
    warm = denoiser.warm_up(torch.zeros(2, 4), **call())
    later = [denoiser(torch.full((2, 4), float(n)), **call()) for n in range(3)]
    assert compiled.frame_count == 1
    assert [float(answer[0, 0]) for answer in (warm, *later)] == [4.0, 4.0, 5.0, 6.0]


def test_a_shape_that_nobody_warmed_up_waits_for_no_compiler(denoiser, compiled):
    denoiser.warm_up(torch.zeros(2, 4), **call())
    assert float(denoiser(torch.zeros(3, 4), **call())[0, 0]) == 4.0
    assert float(denoiser(torch.zeros(2, 4), **call(encoder_hidden_states=WORDS[:, 1:]))[0, 0]) == 4
    assert compiled.frame_count == 1


def test_every_shape_that_is_warmed_up_is_compiled_however_many_there_are(denoiser, compiled):
    for rows in range(1, 13):
        denoiser.warm_up(torch.zeros(rows, 4), **call())
    assert compiled.frame_count == 12


def test_without_a_mode_nothing_is_compiled(compiled, network):
    Denoiser(network, CARD).warm_up(torch.zeros(2, 4), **call())
    assert compiled.frame_count == 0


def test_what_must_be_the_same_next_week_leaves_the_compiler_out(denoiser, compiled):
    denoiser.warm_up(torch.zeros(2, 4), **call())
    torch.compiler.reset()
    assert float(denoiser(torch.zeros(2, 4), exactly=True, **call())[0, 0]) == 4.0
    assert compiled.frame_count == 1


@pytest.mark.parametrize("loaded", [True, None], ids=["in use", "taken out, its layers stay"])
def test_a_network_with_a_lora_in_it_runs_as_it_is(
    denoiser, compiled, network, monkeypatch, loaded
):
    denoiser.warm_up(torch.zeros(2, 4), **call())
    torch.compiler.reset()
    monkeypatch.setattr(network, "_hf_peft_config_loaded", loaded, raising=False)
    assert float(denoiser(torch.zeros(2, 4), **call())[0, 0]) == 4.0
    assert compiled.frame_count == 1


def test_what_no_longer_fits_runs_as_it_is_and_is_counted_instead_of_compiled(
    denoiser, compiled, network
):
    denoiser.warm_up(torch.zeros(2, 4), **call())
    before = RECOMPILES._value.get()  # noqa: SLF001 (there is no public way)
    network.offset = 1.0  # a number that the compiled code has taken for granted

    answers = [denoiser(torch.zeros(2, 4), **call()) for _ in range(2)]

    assert [float(answer[0, 0]) for answer in answers] == [5.0, 5.0]
    assert compiled.frame_count == 1
    assert RECOMPILES._value.get() == before + 1  # noqa: SLF001
