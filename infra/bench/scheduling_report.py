"""The rows, tables and curves of the scheduling benchmark."""

from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table

from infra.bench.policies import (
    AGREEING,
    AGREEING_WAITING,
    ALONE,
    EXACT,
    EXACT_WAITING,
    OURS,
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
        _loop_row(results),
    ]


def _goodput_rows(results: Results) -> list[Row]:
    return [
        _in_time(results, SD15_MIXED, EXACT, least=1.45),
        _in_time(results, SD15_MIXED, AGREEING, least=1.3),
        _in_time(results, SDXL_MIXED, EXACT, least=1.3),
        _in_time(results, SDXL_MIXED, AGREEING, least=1.2),
        _in_time(results, SD15_IDENTICAL, EXACT, least=1.0),
        _in_time(results, SDXL_IDENTICAL, EXACT, least=1.0),
        _served_row(results, SD15_MIXED, least=0.78),
        _in_time(results, SD15_MIXED, STATIC),
        _in_time(results, SD15_MIXED, EXACT_WAITING),
        _in_time(results, SD15_MIXED, AGREEING_WAITING),
        _served_row(results, SDXL_MIXED),
    ]


def _p99_rows(results: Results) -> list[Row]:
    return [
        _p99(results, SD15_MIXED, EXACT, most=0.3),
        _p99(results, SD15_MIXED, AGREEING, most=0.5),
        _p99(results, SDXL_MIXED, EXACT, most=0.4),
        _p99(results, SDXL_MIXED, AGREEING, most=0.6),
        _p99(results, SD15_MIXED, EXACT_WAITING),
        _p99(results, SD15_MIXED, AGREEING_WAITING),
    ]


def _occupancy_rows(results: Results) -> list[Row]:
    return [
        _full_row(results, scenario, what, value, least=least)
        for scenario, least in ((SD15_MIXED, 0.75), (SDXL_MIXED, None))
        for what, value in (
            ("mean of the steps", "occupancy"),
            ("over their time", "occupancy_over_time"),
        )
    ]


def _full_row(
    results: Results, scenario: str, what: str, value: str, *, least: float | None
) -> Row:
    at = results[scenario]["policies"][OURS]["traces"]["90%"]
    share = fmean(at[value]) / results[scenario]["cap"]
    return _share_row(f"{scenario}, samples a step at 90% load / cap: {what}", share, least=least)


def _join_row(results: Results) -> Row:
    profile = SCENARIOS[SD15_MIXED].profile
    most = profile.step_seconds(profile.cap) + profile.encode
    join = results[SD15_MIXED]["engine"]["join_p99"]
    what = f"{SD15_MIXED}, 70% load: p99 until the first step, where a place is free"
    asked = f"at most {most * 1e3:.0f} ms"
    return Row(what, f"{join * 1e3:.0f} ms", asked, join <= most)


def _loop_row(results: Results) -> Row:
    difference = max(found["engine"]["difference"] for found in results.values())
    what = f"{OURS}, all devices and mixes: latencies, largest difference to the engine's own"
    return Row(what, f"{difference:g} s", "0 s", difference == 0)


def _in_time(results: Results, scenario: str, other: str, *, least: float | None = None) -> Row:
    policies = results[scenario]["policies"]
    rates = (policies[name]["goodput"] for name in (OURS, other))
    return ratio_row(f"{scenario}, in time: {OURS} / {other}", *rates, least=least)


def _p99(results: Results, scenario: str, other: str, *, most: float | None = None) -> Row:
    policies = results[scenario]["policies"]
    seconds = (policies[name]["traces"]["70%"]["p99"] for name in (OURS, other))
    return ratio_row(f"{scenario}, p99 at 70% load: {OURS} / {other}", *seconds, most=most)


def _served_row(results: Results, scenario: str, *, least: float | None = None) -> Row:
    found = results[scenario]
    share = median(found["policies"][OURS]["goodput"]) / found["capacity"]
    return _share_row(f"{scenario}, in time: {OURS} / full batches", share, least=least)


def _share_row(what: str, share: float, *, least: float | None) -> Row:
    if least is None:
        return Row(what, f"{share:.1%}")
    return Row(what, f"{share:.1%}", f"at least {least:.0%}", share >= least)


def detail(results: Results) -> RenderableType:
    """Latencies over load for every policy, and more of our own."""
    return Group(*(_latencies(name, found) for name, found in results.items()), _closer(results))


def _latencies(scenario: str, found: Results) -> Table:
    traces = found["policies"][OURS]["traces"]
    drawn = Table(Column(scenario, no_wrap=True), "caps", "in time", *traces)
    drawn.title = "p50/p99 in seconds"
    drawn.caption = (
        f"In time: requests a second of which 99% take at most {found['slo_seconds']:g} s; the "
        f"device serves {found['capacity']:.2f} a second. Caps: of the seeds, for this/for the p99 "
        "at 70%. Where a policy cannot keep up, its latency has no steady value but grows with "
        "the run."
    )
    for policy, of_policy in found["policies"].items():
        points = (_joined(at, "p50", "p99") for at in of_policy["traces"].values())
        caps = "/".join(_numbers(set(each)) for each in zip(*of_policy["caps"], strict=True))
        drawn.add_row(f"  {policy}", caps, f"{median(of_policy['goodput']):.2f}", *points)
    return drawn


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in sorted(values))


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
