"""The supervisor, with real processes that stand in for the service's."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.local.child import Service, restart_delay
from infra.local.keeper import Keeper, StackError
from tests.processes import alive, until

BEHAVES = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""
IGNORES_SIGTERM = BEHAVES.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")
NEVER_READY = "import time; print('still thinking', flush=True); time.sleep(60)"
DIES = "import sys; print('no licence for this'); sys.exit(3)"
HAS_A_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1] + ".child", "w").write(str(child.pid))
""" + BEHAVES  # fmt: skip


def stand_in(folder: Path, name: str, code: str, **more: object) -> Service:
    ready = folder / f"{name}.ready"
    command = (sys.executable, "-c", code, str(ready))
    values = {"patience": 20, "grace": 5} | more
    return Service(name, command, ready.exists, ready_file=ready, **values)


@contextmanager
def keeping(folder: Path, *services: Service, said: list[str] | None = None) -> Iterator[Keeper]:
    said = said if said is not None else []
    keeper = Keeper(services, logs=folder, env={}, say=said.append)
    keeper.start()
    try:
        yield keeper
    finally:
        keeper.stop()


def test_what_it_brings_up_is_ready_and_what_it_stops_is_gone(tmp_path):
    names = ("one", "two")
    with keeping(tmp_path, *(stand_in(tmp_path, name, BEHAVES) for name in names)) as keeper:
        keeper.bring_up(names)
        pids = [keeper.children[name].pid for name in names]

        assert all(alive(pid) for pid in pids)

    assert not any(alive(pid) for pid in pids)
    assert [keeper.children[name].last_exit for name in names] == [0, 0]


def test_a_process_that_is_killed_is_started_again_and_it_says_so(tmp_path):
    said = []
    with keeping(tmp_path, stand_in(tmp_path, "worker", BEHAVES), said=said) as keeper:
        keeper.bring_up(["worker"])
        keeper.revive_the_dead()
        worker = keeper.children["worker"]
        first = worker.pid

        worker.send(signal.SIGKILL)
        keeper.await_ready(["worker"])

        assert worker.pid not in (None, first)
        assert worker.starts == 2
    [line] = [line for line in said if "again" in line]
    log = tmp_path / "worker.log"
    assert line == f"worker: killed by SIGKILL; starts again in 0.5 s (log: {log})"


def test_one_that_keeps_dying_is_started_ever_more_slowly(tmp_path):
    said = []
    with keeping(tmp_path, stand_in(tmp_path, "worker", BEHAVES), said=said) as keeper:
        keeper.bring_up(["worker"])
        keeper.revive_the_dead()
        worker = keeper.children["worker"]
        for death in (1, 2, 3):
            worker.send(signal.SIGKILL)
            until(lambda death=death: len([s for s in said if "again" in s]) == death)
            keeper.await_ready(["worker"])

    delays = [line.split("again in ")[1].split()[0] for line in said if "again" in line]
    assert delays == ["0.5", "1", "2"]


def test_the_longest_wait_before_a_start_is_half_a_minute():
    assert [restart_delay(failures) for failures in (1, 2, 7, 60)] == [0.5, 1, 30, 30]


def test_a_process_that_dies_at_the_start_is_an_error_with_its_last_words(tmp_path):
    with (
        keeping(tmp_path, stand_in(tmp_path, "api", DIES)) as keeper,
        pytest.raises(StackError, match=r"(?s)api ended: exit code 3.*no licence for this"),
    ):
        keeper.bring_up(["api"])


def test_a_command_that_does_not_exist_is_an_error_that_names_it(tmp_path):
    missing = Service("s3", ("/nowhere/s3-server",), lambda: True)
    with (
        keeping(tmp_path, missing) as keeper,
        pytest.raises(StackError, match="cannot start /nowhere/s3-server"),
    ):
        keeper.bring_up(["s3"])


def test_waiting_for_readiness_ends(tmp_path):
    slow = stand_in(tmp_path, "api", NEVER_READY, patience=1)
    with (
        keeping(tmp_path, slow) as keeper,
        pytest.raises(StackError, match=r"(?s)api is not ready after 1 s.*still thinking"),
    ):
        keeper.bring_up(["api"])


def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path):
    said = []
    deaf = stand_in(tmp_path, "worker", IGNORES_SIGTERM, grace=0.3)
    with keeping(tmp_path, deaf, said=said) as keeper:
        keeper.bring_up(["worker"])
        pid = keeper.children["worker"].pid

    assert not alive(pid)
    assert "worker did not stop within 0.3 s: killed" in said


def test_later_stages_stop_first(tmp_path):
    order = tmp_path / "order"
    tells = BEHAVES.replace(
        "sys.exit(0)", f"[open({str(order)!r}, 'a').write(sys.argv[1] + ' '), sys.exit(0)]"
    )
    stages = {"redis": 0, "worker": 2, "api": 3}
    services = [stand_in(tmp_path, name, tells, stage=stage) for name, stage in stages.items()]
    with keeping(tmp_path, *services) as keeper:
        keeper.bring_up(stages)

    assert [Path(path).stem for path in order.read_text().split()] == ["api", "worker", "redis"]


def test_the_children_of_a_dead_process_die_with_it(tmp_path):
    with keeping(tmp_path, stand_in(tmp_path, "worker", HAS_A_CHILD)) as keeper:
        keeper.bring_up(["worker"])
        grandchild = int((tmp_path / "worker.ready.child").read_text())

        assert alive(grandchild)

    until(lambda: not alive(grandchild))


def test_one_can_be_stopped_and_stays_stopped_until_it_is_brought_up(tmp_path):
    with keeping(tmp_path, stand_in(tmp_path, "redis", BEHAVES)) as keeper:
        keeper.bring_up(["redis"])
        keeper.revive_the_dead()
        redis = keeper.children["redis"]

        keeper.stop_one("redis")
        time.sleep(0.3)
        assert redis.pid is None

        keeper.bring_up(["redis"])
        assert redis.is_ready


def test_a_new_run_keeps_the_log_of_the_last_one_beside_its_own(tmp_path):
    for run in ("first", "second"):
        code = f"print('the {run} run', flush=True)" + BEHAVES
        with keeping(tmp_path, stand_in(tmp_path, "api", code)) as keeper:
            keeper.bring_up(["api"])

    assert (tmp_path / "api.log").read_text() == "the second run\n"
    assert (tmp_path / "api.log.1").read_text() == "the first run\n"
