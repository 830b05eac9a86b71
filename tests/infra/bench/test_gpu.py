"""The benchmark of a card, as far as a CPU can tell: sizes, operations, records, one rehearsal."""

import io
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from infra.bench.gpu import __main__ as command
from infra.bench.gpu.busy import shares
from infra.bench.gpu.exactness import drawing, error
from infra.bench.gpu.models import ARCHITECTURES, denoiser, make_parts
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.traffic import operations
from infra.bench.gpu.work import work
from infra.bench.report import Finding, Row

ROOT = Path(__file__).parents[3]
PLAN = Plan(device="cpu", models=("sd15", "sdxl"))
PUBLISHED = {  # millions of parameters: denoiser, VAE, text encoders
    "sd15": (859.5, 83.7, 123.1),
    "sdxl": (2567.5, 83.7, 123.1, 694.7),
    "flux": (11901.4, 83.8, 123.1, 4762.3),
}
OPERATIONS = {  # TFLOP: a row of the denoiser, encoding, decoding, a whole image
    "sd15": (0.80327, 1.1167, 2.5145, 37.40),
    "sdxl": (6.76124, 4.8790, 10.4704, 299.54),
    "flux": (74.38465, 4.8826, 10.4722, 1507.91),
}
FOREIGN = {"celery", "fastapi", "redis"}
"""What a machine that only measures need not have."""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_networks_have_the_published_sizes(name):
    parts = make_parts(name, "meta", tiny=False)
    networks = [denoiser(parts), parts["vae"], parts["text_encoder"], parts.get("text_encoder_2")]

    sizes = [sum(p.numel() for p in network.parameters()) for network in networks if network]

    assert sizes[0] == ARCHITECTURES[name].parameters
    assert [round(size / 1e6, 1) for size in sizes] == list(PUBLISHED[name])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_operations_are_counted_from_the_networks(name):
    counted = work(name, tiny=False)

    found = [counted.row, counted.encode, counted.decode, operations(name, PLAN)]
    assert [count / 1e12 for count in found] == pytest.approx(OPERATIONS[name], rel=2e-4)


def test_a_device_is_idle_between_kernels_and_busy_once_under_two_at_a_time():
    spans = [(10, 30, "kernel"), (20, 25, "Memcpy DtoH"), (60, 110, "kernel")]

    assert shares(spans) == {
        "busy": 0.7,
        "copying": 0.05,
        "longest_gap_seconds": 3e-8,
        "seconds": 1e-7,
    }


def test_a_reference_gets_the_draws_of_the_shorter_type():
    with drawing() as drawn:
        short = [torch.randn(4, dtype=torch.bfloat16) for _ in range(2)]
    with drawing(drawn):
        long = [torch.randn(4, dtype=torch.float32) for _ in range(2)]

    assert [made.dtype for made in long] == [torch.float32] * 2
    assert all(torch.equal(a.float(), b) for a, b in zip(short, long, strict=True))


def test_the_error_is_relative_to_the_reference():
    assert error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == pytest.approx(0.1)


def test_a_case_that_fails_stays_in_the_table_and_costs_no_other():
    def measure(plan, case):
        if case == "sd15":
            raise MemoryError("too much")
        return Finding({"found": 1}, [Row("speed", "1")])

    part = SimpleNamespace(measure=measure)

    failed, fine = (command.measured(part, PLAN, "curve", case) for case in PLAN.models)

    assert failed.rows == [Row("curve, sd15", "MemoryError: too much", "runs", held=False)]
    assert fine.results.keys() == {"found", "seconds"}


def test_what_found_no_time_is_in_the_table():
    late = replace(PLAN, until=time.monotonic())

    skipped = command.measured(SimpleNamespace(), late, "curve", "sd15")

    assert skipped.rows == [Row("curve, sd15", "not measured: no time left")]


def test_a_line_of_code_keeps_its_brackets_in_the_table():
    console = Console(file=io.StringIO(), width=100)

    console.print(command.shown([Row("unet.py:9 steps[last]", "in 2", "0", held=False)]))

    assert "steps[last]" in console.file.getvalue()
    assert "missed" in console.file.getvalue()


def test_each_case_is_on_the_disk_before_the_next(tmp_path):
    record = command.begin(tmp_path, PLAN, {"name": "CPU"})

    record.add("first", Finding({"a": 1}, [Row("speed", "1", "at least 2", held=False)]))
    [path] = tmp_path.iterdir()
    one = json.loads(path.read_text())
    record.add("second", Finding({"b": 2}, []))

    assert one["results"] == {"first": {"a": 1}}
    assert one["table"][0]["held"] is False
    assert one["plan"]["models"] == ["sd15", "sdxl"]
    assert {"torch", "diffusers", "commit", "python"} <= one["environment"].keys()
    assert json.loads(path.read_text())["results"] == {"first": {"a": 1}, "second": {"b": 2}}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so_and_writes_nothing(tmp_path, capsys):
    assert command.main(["--out", str(tmp_path)]) == 2

    assert "no CUDA device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_rehearsal_on_a_cpu_runs_every_part_with_little_installed(tmp_path):
    arguments = ["--tiny", "--quick", "--device", "cpu", "--out", str(tmp_path)]
    script = (
        "import sys; from infra.bench.gpu.__main__ import main; code = main(sys.argv[1:]);"
        f"sys.exit(code or ','.join({FOREIGN} & sys.modules.keys()) or None)"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    [path] = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert {case.split(",")[0] for case in record["results"]} == set(command.PARTS)
    assert not [case for case, found in record["results"].items() if "error" in found]
    exact = {name: record["results"][f"exactness, {name} eager"] for name in ARCHITECTURES}
    assert all(found["deterministic"] and found["independent"] for found in exact.values())
    assert max(max(found["ratios"]) for found in exact.values()) <= 1.25
    assert "ours / plain" in ended.stdout
    assert str(ROOT) not in path.read_text()
