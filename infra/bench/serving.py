"""What serving costs: the engine behind HTTP, Redis, Celery, a bucket and webhooks, and bare.

Both have the same device, which only takes time, and are given the same requests in the same order.
A second load, of half of what the service gets done, shows where the time of a request goes.
"""

from collections.abc import Sequence
from statistics import mean, median

from rich.table import Column, Table

from infra.bench.arrivals import poisson_times
from infra.bench.noise import Noise
from infra.bench.report import (
    Effort,
    Finding,
    Row,
    Spread,
    Watch,
    in_turns,
    in_words,
    ratio_row,
    spread,
)
from infra.bench.serving_load import CLAIMED, Moments, requests
from infra.bench.serving_ways import CAP, Round, engine, service
from infra.bench.stock_celery import delays

BARE, SERVED = "engine alone", "whole service"
SHARE = 0.97
"""Of the engine's throughput, that is asked of the service."""
LOAD = 0.5
IN_HAND, STARTED, TOLD = "accept to engine", "accept to first step", "last step to webhook"
MIDDLE, TAIL = 10.0, 30.0
"""Milliseconds, that are asked at the median and at the 99th percentile."""
STOCK = {kind: f"stock Celery, {kind}: send to start" for kind in ("solo", "threads")}
STOCK_RATE = 50
"""Tasks a second for a stock worker that has the machine to itself, as ours has not."""
CLAIM, OF_STOCK = 5.0, 0.5
"""Milliseconds until a job is claimed, or so much of what a stock worker takes."""
TIMER = "oversleep of a 1 ms timer meanwhile"


def measure(effort: Effort, watch: Watch) -> Finding:
    """Both in turns; then half the load, and a stock worker's delays on the same Redis."""
    line = requests(effort.serving, seed=1)
    found: dict[str, list[Round]] = {BARE: [], SERVED: []}
    with service() as (stack, customers, serve), engine() as paint:
        ways = {BARE: paint, SERVED: serve}
        serve(line[: 2 * CAP])  # not counted
        for done, name in in_turns(ways, effort.serving_rounds):
            watch(0.6 * done, f"{len(line)} requests, {name}")
            found[name].append(ways[name](line))
        rate = LOAD * len(line) / median(one.seconds for one in found[SERVED])
        watch(0.6, f"{effort.stages} requests, {rate:.1f}/s")
        with Noise() as noise:
            mixed = requests(effort.stages, seed=2)
            sent = customers.send(mixed, poisson_times(rate, len(mixed), seed=3))
        moments = customers.moments(sent)
        watch(0.9, "stock Celery")
        times = poisson_times(STOCK_RATE, len(mixed), seed=3)
        broker = stack.redis_url.removesuffix("/0") + "/1"
        stock = {STOCK[kind]: spread(delays(broker, kind, times)) for kind in STOCK}
    stages = {name: spread(seconds) for name, seconds in _stages(moments).items()}
    others = {TIMER: spread(noise.oversleep), **stock}
    results = {
        "rounds": {name: [one.results() for one in many] for name, many in found.items()},
        "requests_per_second": rate,
        "milliseconds": stages | others,
    }
    return Finding(results, _rows(found, stages, others), _table(stages, rate))


def _stages(moments: Sequence[Moments]) -> dict[str, list[float]]:
    tables = [one.table() for one in moments]
    return {stage: [table[stage] for table in tables] for stage in tables[0]} | {
        IN_HAND: [one.to_engine for one in moments],
        STARTED: [one.to_first_step for one in moments],
        TOLD: [one.to_webhook for one in moments],
    }


def _rows(
    found: dict[str, list[Round]], stages: dict[str, Spread], others: dict[str, Spread]
) -> list[Row]:
    rates = {name: [one.per_second for one in rounds] for name, rounds in found.items()}
    claimed, stock = stages[CLAIMED]["p99"], min(others[name]["p99"] for name in STOCK.values())
    asked = f"p99 at most {CLAIM:g} ms or {OF_STOCK:g}x stock Celery's"
    return [
        *(Row(f"serving, images/s: {name}", f"{median(rates[name]):.2f}") for name in rates),
        ratio_row(f"  {SERVED} / {BARE}", rates[SERVED], rates[BARE], least=SHARE),
        *(row for name in rates for row in _thread(name, found[name])),
        *(
            _latency(f"serving at {LOAD:.0%} load: {name}", stages[name])
            for name in (STARTED, TOLD)
        ),
        Row(f"  {IN_HAND}", in_words(stages[IN_HAND])),
        Row(
            f"  {CLAIMED}",
            f"{in_words(stages[CLAIMED])}; stock p99 {stock:.1f} ms",
            asked,
            claimed <= max(CLAIM, OF_STOCK * stock),
        ),
        *(Row(f"  {name}", in_words(took)) for name, took in others.items()),
    ]


def _thread(name: str, rounds: Sequence[Round]) -> list[Row]:
    """What the engine's thread does beside the device's own time, and what all of it costs."""
    between, late = (median(getattr(one, part) for one in rounds) for part in ("between", "late"))
    cores = mean(one.cores for one in rounds)
    return [
        Row(f"  {name}: engine's thread between steps", f"{between:.1%} of the device's time"),
        Row("    later in steps than the device", f"{late:.1%}"),
        Row("    cores busy in all", f"{cores:.2f}"),
    ]


def _latency(what: str, took: Spread) -> Row:
    held = took["p50"] <= MIDDLE and took["p99"] <= TAIL
    return Row(what, in_words(took), f"p50 at most {MIDDLE:g} ms, p99 {TAIL:g} ms", held)


def _table(stages: dict[str, Spread], rate: float) -> Table:
    drawn = Table(Column("stage", no_wrap=True), "p50", "p95", "p99")
    drawn.title = f"Where {rate:.1f} requests a second spend their time, in ms"
    for name, took in stages.items():
        drawn.add_row(name, *(f"{value:.1f}" for value in took.values()))
    return drawn
