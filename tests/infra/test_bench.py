"""The benchmarks: the simulated device where a pencil suffices, and one run with tiny numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.bench.__main__ import PARTS
from infra.bench.report import QUICK
from infra.bench.scheduling import MIXES, POLICIES, capacity, counted
from infra.bench.simulator import (
    CAP,
    DECODE,
    ENCODE,
    Request,
    Run,
    batched_by_step,
    batched_whole,
    poisson,
    step_seconds,
)

ROOT = Path(__file__).parents[2]


def request(arrival: float = 0.0, *, calls: int = 4, guidance: float = 7.5) -> Request:
    return Request(arrival, steps=calls, strength=1.0, guidance=guidance)


def guidance(request: Request) -> float:
    return request.guidance


def test_a_step_is_flat_until_the_device_is_full():
    assert step_seconds(1) == pytest.approx(0.007)
    assert step_seconds(2) == pytest.approx(0.0109)
    assert step_seconds(8) == pytest.approx(0.0343)


def test_calls_are_counted_as_diffusers_counts_them():
    assert Request(0.0, steps=25, strength=0.7, guidance=7.5).calls == 17


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_a_request_alone_takes_its_encoding_its_steps_and_its_decoding(policy):
    run = policy([request(arrival=3.0, calls=5)])

    assert run.latencies == [pytest.approx(ENCODE + 5 * step_seconds(1) + DECODE)]
    assert (run.forwards, run.samples, run.rows) == (5, 5, 5)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_between_requests_far_apart_the_device_is_idle(policy):
    run = policy([request(0.0), request(10.0), request(20.0, calls=2)])

    alone, short = (ENCODE + calls * step_seconds(1) + DECODE for calls in (4, 2))
    assert run.latencies == pytest.approx([alone, alone, short])


def test_one_at_a_time_the_second_waits_for_the_first():
    run = batched_whole([request(), request()], key=id)

    alone = ENCODE + 4 * step_seconds(1) + DECODE
    assert run.latencies == pytest.approx([alone, 2 * alone])


def test_who_agrees_shares_a_batch_and_overtakes_who_does_not():
    run = batched_whole([request(), request(guidance=3.0), request()], guidance)

    pair = 2 * ENCODE + 4 * step_seconds(2)
    alone = ENCODE + 4 * step_seconds(1) + DECODE
    expected = [pair + DECODE, pair + 2 * DECODE + alone, pair + 2 * DECODE]
    assert run.latencies == pytest.approx(expected)
    assert (run.forwards, run.samples) == (8, 12)


def test_a_batch_of_five_pays_for_the_bucket_of_six():
    padded = batched_whole([request() for _ in range(5)], guidance)
    exact = batched_whole([request() for _ in range(5)], guidance, buckets=(5,))

    assert (padded.samples, padded.rows) == (20, 24)
    assert (exact.samples, exact.rows) == (20, 20)


def test_by_step_a_late_request_joins_before_the_next_step_and_leaves_when_it_is_done():
    first, late = request(0.0, calls=3), request(0.005, calls=1, guidance=3.0)

    run = batched_by_step([first, late])

    # The first is encoded and takes a step alone. The late one, there since, is encoded, shares the
    # second step and leaves; then the first takes its third step alone.
    left = 2 * ENCODE + step_seconds(1) + step_seconds(2) + DECODE
    assert run.latencies == pytest.approx([left + step_seconds(1) + DECODE, left - 0.005])
    assert (run.forwards, run.samples, run.rows) == (3, 4, 4)


def test_more_than_the_cap_wait_for_a_place():
    run = batched_by_step([request(calls=1) for _ in range(CAP + 1)])

    full = CAP * ENCODE + step_seconds(CAP)
    assert run.latencies[0] == pytest.approx(full + DECODE)
    assert run.latencies[-1] == pytest.approx(full + CAP * DECODE + ENCODE + 0.007 + DECODE)


def test_the_same_seed_gives_the_same_run_and_another_rate_stretches_it():
    arrivals = [poisson(MIXES["mixed"], rate=rate, count=50, seed=1) for rate in (8.0, 8.0, 4.0)]

    first, again, slower = arrivals

    assert batched_by_step(first) == batched_by_step(again)
    assert [r.arrival for r in slower] == pytest.approx([2 * r.arrival for r in first])
    assert [r.steps for r in slower] == [r.steps for r in first]


def test_capacity_is_what_full_batches_serve():
    assert capacity([(10, 1.0, 7.5)]) == pytest.approx(1 / (0.011 + 10 * 0.0343 / 8))


def test_the_first_tenth_is_not_counted():
    run = Run([9.0] + [1.0] * 9, forwards=1, samples=1, rows=1)

    assert counted(run) == [1.0] * 9


def test_a_tiny_run_of_everything_writes_its_numbers_and_nothing_about_the_machine(tmp_path):
    command = [sys.executable, "-m", "infra.bench", "--quick", "--out", str(tmp_path)]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    [path] = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert path.name.endswith("-engine-scheduling-door-http_door-fairness-png-eta.json")
    assert record["effort"]["arrivals"] == QUICK.arrivals
    assert {"cpu_count", "python", "torch", "diffusers", "commit"} <= record["environment"].keys()
    assert record["results"].keys() == {*PARTS}
    assert all(row["what"] and row["measured"] for row in record["table"])
    assert "ours / plain diffusers" in ended.stdout
    assert str(ROOT) not in path.read_text()
