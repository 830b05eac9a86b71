"""What the benchmark of serving makes of times: arithmetic, on times that a pencil can add."""

import pytest

from infra.bench.serving_load import Moments
from infra.bench.serving_ways import Round

STAGES = "claim fetch decode submit wait steps develop encode upload finish"


def test_a_requests_time_is_split_where_the_device_has_it():
    stages = dict.fromkeys(STAGES.split(), 0.001) | {"wait": 0.01, "steps": 1.0}
    one = Moments(
        sent=9.999, accepted=10.0, claimed=10.003, finished=11.02, notified=11.025, stages=stages
    )

    assert one.to_engine == pytest.approx(0.003 + 3.5 * 0.001)
    assert one.to_first_step == pytest.approx(one.to_engine + 0.01)
    assert one.to_webhook == pytest.approx(3.5 * 0.001 + 0.005)
    assert one.table()["accept to claim"] == pytest.approx(0.003)
    assert [*one.table()][2:-1] == STAGES.split()


def test_a_round_is_split_into_the_device_and_what_comes_beside_it():
    one = Round(
        images=20,
        seconds=10.0,
        steps=100,
        rows=400,
        in_steps=9.0,
        in_device=8.0,
        cpu={"api": 1.0, "worker": 2.0},
    )

    assert (one.per_second, one.between, one.late) == (2.0, 0.125, 0.125)
    assert one.results()["cpu_milliseconds_per_image"] == {"api": 50.0, "worker": 100.0}
    assert one.cores == pytest.approx(0.3)
