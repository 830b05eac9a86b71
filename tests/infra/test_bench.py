"""The benchmarks: the simulated device where a pencil suffices, and one run with tiny numbers."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from infra.bench.arrivals import Request, Traffic, bursts, poisson
from infra.bench.knee import knee
from infra.bench.policies import EXACT, MIXED, OURS, POLICIES, SCENARIOS, SD15_MIXED, SDXL_MIXED
from infra.bench.report import PARTS, QUICK
from infra.bench.rivals import batched_whole
from infra.bench.scheduling import counted, goodput, point, run, traces
from infra.bench.simulator import SD15, SDXL, Run, batched_by_engine
from infra.bench.stepwise import batched_by_step

ROOT = Path(__file__).parents[2]
ENCODE, DECODE, CAP = SD15.encode, SD15.decode, SD15.cap
step_seconds = SD15.step_seconds


def request(arrival: float = 0.0, *, calls: int = 4, guidance: float = 7.5) -> Request:
    return Request(arrival, steps=calls, strength=1.0, guidance=guidance)


def guidance(request: Request) -> float:
    return request.guidance


def by_step(*requests: Request) -> Run:
    return batched_by_engine(Traffic(requests), SD15, CAP)


def whole(*requests: Request, cap: int = CAP, **options) -> Run:
    return batched_whole(Traffic(requests), SD15, cap, **{"key": guidance} | options)


def test_a_step_is_flat_until_the_device_is_full():
    assert step_seconds(1) == pytest.approx(0.007)
    assert step_seconds(2) == pytest.approx(0.0109)
    assert step_seconds(8) == pytest.approx(0.0343)


def test_the_knee_is_the_smallest_batch_that_comes_near_the_best_rate():
    assert knee({1: 10.0, 2: 12.0, 3: 15.5, 4: 20.5}) == 3  # 0.194 a second are 97 % of 0.2
    assert knee({1: 10.0, 2: 20.0, 4: 39.0}) == 1
    assert knee({4: 8.0, 16: 16.0, 32: 16.0}) == 16  # no more than 16 meet in a step


def test_the_caps_are_the_knees_of_the_assumed_curves():
    assert (SD15.cap, SDXL.cap) == (8, 3)


def test_calls_are_counted_as_diffusers_counts_them():
    assert Request(0.0, steps=25, strength=0.7, guidance=7.5).calls == 17


@pytest.mark.parametrize("policy", [*POLICIES.values(), batched_by_engine])
def test_a_request_alone_takes_its_encoding_its_steps_and_its_decoding(policy):
    run = policy(Traffic([request(arrival=3.0, calls=5)]), SD15, CAP)

    # A batcher with a window waits for others all the same.
    waits = 0.05 if run.latencies[0] > 0.07 else 0.0
    alone = ENCODE + 5 * step_seconds(1) + DECODE
    assert run.latencies == [pytest.approx(waits + alone)]
    assert run.slowdowns == [pytest.approx((waits + alone) / alone)]
    assert (run.forwards, run.samples, run.rows) == (5, 5, 5)


@pytest.mark.parametrize("run", [by_step, whole])
def test_between_requests_far_apart_the_device_is_idle(run):
    ended = run(request(0.0), request(10.0), request(20.0, calls=2))

    alone, short = (ENCODE + calls * step_seconds(1) + DECODE for calls in (4, 2))
    assert ended.latencies == pytest.approx([alone, alone, short])
    assert ended.seconds == pytest.approx(20 + short)


def test_one_at_a_time_the_second_waits_for_the_first():
    run = whole(request(), request(), cap=1)

    alone = ENCODE + 4 * step_seconds(1) + DECODE
    assert run.latencies == pytest.approx([alone, 2 * alone])


def test_who_agrees_shares_a_batch_and_overtakes_who_does_not():
    run = whole(request(), request(guidance=3.0), request())

    pair = 2 * ENCODE + 4 * step_seconds(2)
    alone = ENCODE + 4 * step_seconds(1) + DECODE
    expected = [pair + DECODE, pair + 2 * DECODE + alone, pair + 2 * DECODE]
    assert run.latencies == pytest.approx(expected)
    assert (run.forwards, run.samples) == (8, 12)


def test_by_step_a_late_request_joins_before_the_next_step_and_leaves_when_it_is_done():
    first, late = request(0.0, calls=3), request(0.005, calls=1, guidance=3.0)

    run = by_step(first, late)

    # The first is encoded and takes a step alone. The late one, there since, is encoded, shares the
    # second step and leaves; then the first takes its third step alone.
    left = 2 * ENCODE + step_seconds(1) + step_seconds(2) + DECODE
    assert run.latencies == pytest.approx([left + step_seconds(1) + DECODE, left - 0.005])
    assert (run.forwards, run.samples, run.rows) == (3, 4, 4)


def test_more_than_the_cap_wait_for_a_place():
    run = by_step(*(request(calls=1) for _ in range(CAP + 1)))

    full = CAP * ENCODE + step_seconds(CAP)
    assert run.latencies[0] == pytest.approx(full + DECODE)
    assert run.latencies[-1] == pytest.approx(full + CAP * DECODE + ENCODE + 0.007 + DECODE)


def test_a_batcher_with_a_window_waits_for_more_of_a_kind_but_no_longer():
    first, second, other = request(0.0), request(0.03), request(0.01, guidance=3.0)

    run = whole(first, other, second, window=0.05)

    pair = 2 * ENCODE + 4 * step_seconds(2)
    alone = ENCODE + 4 * step_seconds(1) + DECODE
    begun = [0.05 + pair + DECODE, 0.05 + pair + 2 * DECODE + alone - 0.01]
    assert run.latencies == pytest.approx([*begun, 0.02 + pair + 2 * DECODE])


def test_a_full_batch_does_not_wait_for_its_window():
    run = whole(*(request(calls=1) for _ in range(CAP)), window=0.05)

    assert run.latencies[0] == pytest.approx(CAP * ENCODE + step_seconds(CAP) + DECODE)


@pytest.mark.parametrize("policy", [batched_by_engine, POLICIES[OURS], POLICIES[EXACT]])
def test_in_a_closed_loop_the_next_comes_when_one_is_answered(policy):
    traffic = Traffic([request(calls=2), request(calls=2), request(calls=2)], clients=1)

    ended = policy(traffic, SD15, CAP)

    alone = ENCODE + 2 * step_seconds(1) + DECODE
    assert ended.latencies == pytest.approx([alone] * 3)
    assert ended.seconds == pytest.approx(3 * alone)


def test_the_same_seed_gives_the_same_run_and_another_rate_stretches_it():
    first, again, slower = (poisson(MIXED, rate=rate, count=50, seed=1) for rate in (8.0, 8.0, 4.0))

    assert by_step(*first) == by_step(*again)
    assert [r.arrival for r in slower] == pytest.approx([2 * r.arrival for r in first])
    assert [r.steps for r in slower] == [r.steps for r in first]


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_loop_of_long_runs_does_what_the_engine_does(name):
    profile = SCENARIOS[name].profile

    for trace, traffic in traces(SCENARIOS[name], 200, seed=1).items():
        loop, engine = (
            serve(traffic(), profile, profile.cap) for serve in (batched_by_step, batched_by_engine)
        )
        assert (loop.latencies, loop.steps) == (engine.latencies, engine.steps), trace


def test_a_rival_has_the_caps_that_suit_it_best():
    effort = replace(QUICK, arrivals=400, halvings=5)
    scenario, serve = SCENARIOS[SD15_MIXED], POLICIES[EXACT]

    found = run(effort, SD15_MIXED, EXACT, seed=0)

    rates, p99 = {}, {}
    for cap in scenario.caps(EXACT):
        rates[cap] = goodput(serve, scenario, cap, effort, seed=0)
        served = serve(traces(scenario, 400, seed=0)["70%"](), SD15, cap)
        p99[cap] = point(served, SD15)["p99"]
    in_time, quickest = found["caps"]
    assert found["goodput"] == rates[in_time] == max(rates.values()) > min(rates.values())
    assert found["traces"]["70%"]["p99"] == p99[quickest] == min(p99.values()) < max(p99.values())


def test_ours_has_the_knee_and_no_choice():
    assert run(QUICK, SDXL_MIXED, OURS, seed=0)["caps"] == [3, 3]


def test_bursts_keep_the_number_and_crowd_three_quarters_into_half_of_the_time():
    steady = [request(moment / 10) for moment in range(400)]

    crowded = [one.arrival for one in bursts(steady)]

    assert crowded == sorted(crowded)
    assert (crowded[150], crowded[200]) == pytest.approx((10.0, 20.0))
    assert sum(arrival % 20 < 10 for arrival in crowded) == pytest.approx(300, abs=2)


def test_who_finds_a_place_joins_after_the_step_at_hand_and_the_encoding():
    run = by_step(request(0.0), request(0.005), *(request(0.006) for _ in range(CAP)))

    first, second, *rest = run.joins
    assert first == pytest.approx(ENCODE)
    assert second == pytest.approx(ENCODE + step_seconds(1) - 0.005 + (CAP - 1) * ENCODE)
    assert len(rest) == CAP - 2  # the last two found none


def test_capacity_is_what_full_batches_serve():
    assert SD15.capacity([(10, 1.0, 7.5)], 8) == pytest.approx(1 / (0.011 + 10 * 0.0343 / 8))
    assert SDXL.capacity([(10, 1.0, 7.5)], 4) == pytest.approx(1 / (0.058 + 10 * 0.112 / 4))


def test_over_time_a_long_step_counts_for_more_than_a_short_one():
    steps = Counter({(1, 1): 3, (6, 8): 1})
    run = Run([1.0] * 10, [2.0] * 10, steps, seconds=2.0)

    found = point(run, SD15)

    alone, full = 3 * step_seconds(1), step_seconds(8)
    assert found["occupancy"] == pytest.approx(9 / 4)
    assert found["occupancy_over_time"] == pytest.approx((alone + 6 * full) / (alone + full))
    assert found["forwards_by_samples"] == [0.75, 0, 0, 0, 0, 0.25, 0, 0]
    assert found["padding_waste"] == pytest.approx(2 / 11)
    assert found["busy"] == pytest.approx((alone + full + 10 * 0.011) / 2)
    assert (found["per_second"], found["slowdown_mean"]) == (5.0, 2.0)


def test_the_first_fifth_is_not_counted():
    assert counted([9.0] * 2 + [1.0] * 8) == [1.0] * 8


def test_a_tiny_run_of_everything_writes_its_numbers_and_nothing_about_the_machine(tmp_path):
    command = [sys.executable, "-m", "infra.bench", "--quick", "--out", str(tmp_path)]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    [path] = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    assert path.stem == record["date"][:10]
    assert record["effort"]["arrivals"] == QUICK.arrivals
    assert {"cpu_count", "python", "torch", "diffusers", "commit"} <= record["environment"].keys()
    assert record["results"].keys() == {*PARTS}
    assert all(row["what"] and row["measured"] for row in record["table"])
    assert "ours / plain diffusers" in ended.stdout
    assert str(ROOT) not in path.read_text()
    drawn = {picture.name.removeprefix(f"{path.stem}-") for picture in tmp_path.glob("*.png")}
    assert {"goodput.png", "sd-1-5-mixed-p99-latency.png"} <= drawn
