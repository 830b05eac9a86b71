"""The rows, tables and curves of the scheduling benchmark."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table

from infra.bench.policies import (
    AGREEING,
    AGREEING_PADDED,
    AGREEING_WAITING,
    ALONE,
    EXACT,
    EXACT_PADDED,
    EXACT_WAITING,
    OURS,
    OURS_PADDED,
    SCENARIOS,
    SD15_IDENTICAL,
    SD15_MIXED,
    SDXL_IDENTICAL,
    SDXL_MIXED,
    STATIC,
)
from infra.bench.report import Curve, Row, ratio_row

DRAWN = (OURS, AGREEING, EXACT, STATIC, ALONE)
"""In the curves, where all policies would hide one another."""
SHORT = 10.0
"""From here on a figure needs no decimals."""
CLOSER = ("70%", "90%", "bursts", "closed loop")

Results = dict[str, Any]


def rows(results: Results) -> list[Row]:
    """What was asked for, and what else is worth comparing."""
    return [
        *_goodput_rows(results),
        *_p99_rows(results),
        *_occupancy_rows(results),
        _join_row(results),
    ]


def _goodput_rows(results: Results) -> list[Row]:
    sd, sdxl = results[SD15_MIXED], results[SDXL_MIXED]
    share = median(sd["policies"][OURS]["goodput"]) / sd["capacity"]
    return [
        _in_time(SD15_MIXED, sd, OURS, EXACT, least=1.45),
        _in_time(SD15_MIXED, sd, OURS, AGREEING, least=1.3),
        _in_time(SDXL_MIXED, sdxl, OURS, EXACT, least=1.3),
        _in_time(SDXL_MIXED, sdxl, OURS, AGREEING, least=1.2),
        _in_time(SD15_IDENTICAL, results[SD15_IDENTICAL], OURS, EXACT, least=1.0),
        _in_time(SDXL_IDENTICAL, results[SDXL_IDENTICAL], OURS, EXACT, least=1.0),
        _share_row(f"{SD15_MIXED}, in time: {OURS} / full batches", share, least=0.78),
        _in_time(SD15_MIXED, sd, OURS, STATIC),
        _in_time(SD15_MIXED, sd, OURS, EXACT_WAITING),
        _in_time(SD15_MIXED, sd, OURS, AGREEING_WAITING),
        _in_time(SD15_MIXED, sd, OURS_PADDED, EXACT_PADDED),
        _in_time(SD15_MIXED, sd, OURS_PADDED, AGREEING_PADDED),
        _in_time(SD15_MIXED, sd, OURS_PADDED, EXACT),
        _in_time(SDXL_MIXED, sdxl, OURS, EXACT_WAITING),
        _in_time(SDXL_MIXED, sdxl, OURS, AGREEING_WAITING),
    ]


def _p99_rows(results: Results) -> list[Row]:
    return [
        _p99(results, SD15_MIXED, EXACT, most=0.3),
        _p99(results, SD15_MIXED, AGREEING, most=0.5),
        _p99(results, SDXL_MIXED, EXACT, most=0.4),
        _p99(results, SDXL_MIXED, AGREEING, most=0.6),
        _p99(results, SD15_MIXED, EXACT_WAITING),
        _p99(results, SD15_MIXED, AGREEING_WAITING),
        _p99(results, SDXL_MIXED, EXACT_WAITING),
        _p99(results, SDXL_MIXED, AGREEING_WAITING),
    ]


def _occupancy_rows(results: Results) -> list[Row]:
    at = results[SD15_MIXED]["policies"][OURS]["traces"]["90%"]
    cap = SCENARIOS[SD15_MIXED].profile.cap
    what = f"{SD15_MIXED}, samples a step at 90% load / cap"
    return [
        _share_row(f"{what}: mean of the steps", fmean(at["occupancy"]) / cap, least=0.75),
        _share_row(f"{what}: over their time", fmean(at["occupancy_over_time"]) / cap, least=0.75),
    ]


def _join_row(results: Results) -> Row:
    profile = SCENARIOS[SD15_MIXED].profile
    most = profile.step_seconds(profile.cap) + profile.encode
    joins = results[SD15_MIXED]["policies"][OURS]["traces"]["70%"]["join_p99"]
    what = f"{SD15_MIXED}, 70% load: p99 until the first step, where a place is free"
    asked = f"at most {most * 1e3:.0f} ms"
    return Row(what, f"{fmean(joins) * 1e3:.0f} ms", asked, fmean(joins) <= most)


def _in_time(
    scenario: str, found: Results, ours: str, other: str, *, least: float | None = None
) -> Row:
    rates = (found["policies"][name]["goodput"] for name in (ours, other))
    return ratio_row(f"{scenario}, in time: {ours} / {other}", *rates, least=least)


def _p99(results: Results, scenario: str, other: str, *, most: float | None = None) -> Row:
    policies = results[scenario]["policies"]
    seconds = (policies[name]["traces"]["70%"]["p99"] for name in (OURS, other))
    return ratio_row(f"{scenario}, p99 at 70% load: {OURS} / {other}", *seconds, most=most)


def _share_row(what: str, share: float, *, least: float) -> Row:
    return Row(what, f"{share:.1%}", f"at least {least:.0%}", share >= least)


def detail(results: Results) -> RenderableType:
    """Latencies over load for every policy, and more of our own."""
    return Group(*(_latencies(name, found) for name, found in results.items()), _closer(results))


def _latencies(scenario: str, found: Results) -> Table:
    traces = found["policies"][OURS]["traces"]
    drawn = Table(Column(scenario, no_wrap=True), "in time", *traces, title="p50/p99 in seconds")
    drawn.caption = (
        f"In time: requests a second of which 99% take at most {found['slo_seconds']:g} s; full "
        f"batches serve {found['capacity']:.2f} a second. Where a policy cannot keep up, its "
        "latency has no steady value but grows with the run."
    )
    for policy, of_policy in found["policies"].items():
        points = (_joined(at, "p50", "p99") for at in of_policy["traces"].values())
        drawn.add_row(f"  {policy}", f"{median(of_policy['goodput']):.2f}", *points)
    return drawn


def _closer(results: Results) -> Table:
    columns = ("p50/p95/p99/max, s", "times alone, mean/p99", "a second", "busy")
    columns += ("a step, mean/over time", "padding")
    drawn = Table(Column(SD15_MIXED, no_wrap=True), *columns)
    drawn.caption = "A step: samples that share it; over time: each step counts by its seconds."
    for trace in CLOSER:
        drawn.add_row(f"[bold]{trace}[/]")
        for policy in DRAWN:
            at = results[SD15_MIXED]["policies"][policy]["traces"][trace]
            drawn.add_row(f"  {policy}", *_cells(at))
    return drawn


def _cells(at: dict[str, Sequence[float]]) -> list[str]:
    return [
        _joined(at, "p50", "p95", "p99", "max"),
        _joined(at, "slowdown_mean", "slowdown_p99"),
        _joined(at, "per_second"),
        f"{fmean(at['busy']):.0%}",
        _joined(at, "occupancy", "occupancy_over_time"),
        f"{fmean(at['padding_waste']):.1%}",
    ]


def _joined(at: dict[str, Sequence[float]], *names: str) -> str:
    means = [fmean(at[name]) for name in names]
    return "/".join(f"{mean:.2f}" if mean < SHORT else f"{mean:.0f}" for mean in means)


def curves(results: Results) -> dict[str, Curve]:
    """Latency and occupancy over load, and who serves how many in time."""
    drawn = {
        f"{scenario}: {words}": Curve(
            "load, share of what full batches serve",
            f"{words}, {unit}",
            {policy: _over_load(found["policies"][policy]["traces"], value) for policy in DRAWN},
            logarithmic=unit == "seconds",
        )
        for scenario, found in ((name, results[name]) for name in (SD15_MIXED, SDXL_MIXED))
        for value, words, unit in (
            ("p50", "median latency", "seconds"),
            ("p99", "p99 latency", "seconds"),
            ("occupancy", "samples a step", "mean"),
        )
    }
    drawn["goodput"] = Curve(
        "",
        "requests in time, share of what full batches serve",
        {
            policy: [
                (scenario, median(found["policies"][policy]["goodput"]) / found["capacity"])
                for scenario, found in results.items()
                if policy in found["policies"]
            ]
            for policy in DRAWN
        },
        bars=True,
    )
    return drawn


def _over_load(traces: dict[str, Any], value: str) -> list[tuple[float, float]]:
    steady = {name: at for name, at in traces.items() if name.endswith("%")}
    return [(float(name[:-1]) / 100, fmean(at[value])) for name, at in steady.items()]
