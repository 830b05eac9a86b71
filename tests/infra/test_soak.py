"""The soak: its arithmetic on made-up samples, and one short run of all of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from infra.soak.__main__ import main
from infra.soak.rest import rest
from infra.soak.verdict import Trend, trends
from infra.vitals import cpu_seconds, vitals
from tests.processes import alive, until

MIB = 2**20


def samples(*values: float, measure: str = "rss") -> list[dict]:
    """One for every 100 jobs."""
    return [
        {"jobs": 100 * number, "processes": {"api": {measure: value}}}
        for number, value in enumerate(values, start=1)
    ]


def trend(*values: float, measure: str = "rss") -> Trend:
    [one] = trends(samples(*values, measure=measure))
    return one


def test_what_keeps_a_record_of_every_job_is_found_out():
    grows = trend(*(100 * MIB + 2048 * 100 * number for number in range(8)))

    assert grows.per_job == pytest.approx(2048)
    assert not grows.is_flat


def test_what_a_process_takes_while_it_warms_up_is_not_held_against_it():
    warm = trend(10 * MIB, 90 * MIB, *[100 * MIB] * 6)

    assert (warm.first, warm.last) == (90 * MIB, 100 * MIB)
    assert trend(10 * MIB, *[100 * MIB] * 7).is_flat


def test_what_goes_up_and_down_is_flat():
    assert trend(*[100 * MIB, 100 * MIB + 9000] * 4).is_flat


def test_a_key_of_redis_for_every_tenth_job_is_too_many():
    assert not trend(*range(13, 93, 10), measure="keys").is_flat


@contextmanager
def session(command: str) -> Iterator[subprocess.Popen]:
    """A shell that leads a session and has said that it is ready."""
    started = subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    with started:
        assert started.stdout.readline() == b"ready\n"
        yield started
        started.stdin.close()


def test_a_process_is_measured_with_its_children_in_whatever_session_they_are():
    idle = "echo ready; read end"
    with session(idle) as one, session(f"setsid sh -c '{idle}'; true") as two:
        alone, together = vitals(one.pid), vitals(two.pid)

    assert alone.threads == 1
    assert alone.fds >= 3
    assert together.threads > alone.threads
    assert together.rss > alone.rss > 0


def test_a_child_that_ended_and_was_not_asked_for_holds_nothing():
    # This one never asks how its child ended: that stays behind as a zombie.
    forgets = "import subprocess as s; p = s.Popen(['true']); print('ready', flush=True); input()"
    with session(f'exec {sys.executable} -c "{forgets}"') as leader:
        [child] = psutil.Process(leader.pid).children()
        until(lambda: not alive(child.pid))

        assert child.status() == psutil.STATUS_ZOMBIE
        assert vitals(leader.pid).threads == 1


def test_time_on_a_core_is_counted_with_that_of_children_that_live():
    busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo ready; read end <&3"
    with session("echo ready; read end") as idle, session(f"exec 3<&0; ({busy}) & cat") as one:
        assert cpu_seconds(one.pid) > cpu_seconds(idle.pid)


def test_a_process_that_is_over_cannot_be_measured():
    with session("echo ready; read end") as over:
        pass

    with pytest.raises(ProcessLookupError, match=str(over.pid)):
        vitals(over.pid)
    assert cpu_seconds(over.pid) == 0


def test_at_rest_records_have_had_their_time_and_the_rest_is_counted(redis):
    redis.set("job:1", "a record", ex=86_400)
    redis.set("worker:1", "alive", ex=30)
    redis.set("clock:default", "1")

    kept = rest(redis)

    assert kept["keys_by_kind"] == {"clock": 1, "worker": 1}
    assert kept["keys"] == 2


def test_a_short_soak_runs_to_its_end_without_a_surprise(tmp_path):
    main(["--jobs", "60", "--rounds", "6", "--clients", "8", "--out", str(tmp_path)])

    [path] = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert record["surprises"] == []
    assert sum(record["ways"].values()) == record["samples"][-1]["jobs"] == 60
    assert set(record["samples"][0]["processes"]) == {"redis", "s3", "simulated", "courier", "api"}
    assert all(starts == 1 for starts in record["samples"][-1]["starts"].values())
