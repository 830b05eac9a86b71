"""The bench of growth: what it makes of its figures. Whether it runs, see test_bench."""

import pytest

from infra.bench import depth
from infra.bench.depth import Cost
from infra.bench.fleet import Point, limit, linear
from infra.bench.line import JOB, WAYS


def point(workers: int, rate: float, *, speed: float = 1.0, **cores: float) -> Point:
    return Point(workers, speed, rate, cores)


def test_the_workers_of_a_point_are_one_kind_of_process():
    some = Point(2, 1.0, 10.0, {"redis": 0.1, "simulated": 0.2, "simulated-2": 0.3})

    assert some.by_kind == pytest.approx({"redis": 0.1, "simulated": 0.5})
    assert some.per_job == pytest.approx({"redis": 0.01, "simulated": 0.05})


def test_twice_as_fast_devices_and_twice_as_many_workers_are_to_bring_four_times_as_much():
    assert linear(6.0, point(2, 20.0, speed=2)) == 24


def test_the_limit_is_where_the_curve_leaves_the_line():
    points = [point(1, 6.0), point(4, 23.0), point(4, 40.0, speed=2), point(4, 60.0, speed=4)]

    assert limit(points, 6.0) == "23 jobs/s, 4 such workers; 40 jobs/s are 0.83 of it"


def test_without_a_point_beyond_the_line_there_is_no_limit():
    assert limit([point(1, 6.0), point(2, 12.0)], 6.0) == "12 jobs/s, 2 such workers"


@pytest.fixture
def costs():
    return {way: {100: Cost(10, 50), 1000: Cost(10, 60)} for way in WAYS}


def test_a_queue_that_costs_the_same_however_long_is_flat(costs):
    size, commands, *times = depth.rows({100: 1800.0, 1000: 1900.0}, costs)

    assert (size.measured, size.held) == ("1.06x (1,900)", True)
    assert (commands.measured, commands.held) == ("1.00x (10)", True)
    assert [row.measured for row in times] == ["1.20x (60 us)"] * len(WAYS)


def test_one_way_that_grows_is_named_and_missed(costs):
    costs["metrics"][1000] = Cost(100, 50)

    _, job, metrics, *_ = depth.rows({100: 1800.0, 1000: 1800.0}, costs)

    assert (job.what, job.held) == (f"  commands of {JOB}", True)
    assert (metrics.what, metrics.held) == ("  commands of metrics", False)
