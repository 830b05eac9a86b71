"""The operator's drill, held on a whole service whose device only takes time."""

import json
import sys

import pytest

from infra.demo.receiver import Delivery
from infra.drill.__main__ import main
from infra.drill.findings import Kill, findings
from infra.drill.stream import Sent
from infra.local import Stack

PROCESSES = ("redis", "s3", "simulated", "simulated-2", "courier", "api")
SETTINGS = {
    "IMG2IMG_STEP_TIME": "0.02",
    "IMG2IMG_LEASE": "2",
    "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
}
FEW = ["--jobs", "12", "--rate", "6"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    data = tmp_path_factory.mktemp("drill")
    with Stack(data, port=0, env=SETTINGS, processes=PROCESSES) as stack:
        yield stack


def starts(stack: Stack) -> dict[str, int]:
    return {name: child.starts for name, child in stack.processes.items()}


def test_a_drill_on_this_machine_finds_its_processes_and_nothing_is_missed(stack, capsys):
    before = starts(stack)

    assert main(["--data", str(stack.data), *FEW]) == 0

    said = capsys.readouterr().out
    assert "12 jobs accepted: 0 lost, 0 failed, 0 doubled" in said
    assert "worker killed with" in said
    assert "courier killed with" in said
    stack.await_ready("simulated", "simulated-2", "courier")
    killed = {name for name, times in starts(stack).items() if times > before[name]}
    assert "courier" in killed
    assert killed & {"simulated", "simulated-2"}


def test_a_drill_elsewhere_runs_the_commands_that_it_is_given(stack, tmp_path, capsys):
    command = f'{sys.executable} -c \'open("{tmp_path}/killed", "w")\''
    there = ["--url", stack.url, "--key", stack.key, "--kill-worker", command]

    assert main([*there, *FEW]) == 0

    assert (tmp_path / "killed").exists()
    assert "courier" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--data", "nowhere"], "no stack runs on nowhere"),
        (["--url", "http://127.0.0.1:1"], "--url needs --key"),
    ],
)
def test_a_drill_that_cannot_be_held_says_why(arguments, why, capsys):
    assert main(arguments) == 2
    assert why in capsys.readouterr().err


def test_a_command_that_fails_ends_the_drill(stack, capsys):
    there = ["--url", stack.url, "--key", stack.key, "--kill-worker", "exit 3"]

    assert main([*there, *FEW]) == 2
    assert "`exit 3` ended with 3" in capsys.readouterr().err


def test_an_address_that_the_service_refuses_is_said_in_its_words(stack, capsys):
    refused = ["--receiver-url", "http://10.0.0.1", "--data", str(stack.data)]

    assert main([*refused, "--jobs", "1", "--rate", "100"]) == 2
    assert "webhook" in capsys.readouterr().err


def delivery(message_id: str, at: float = 1.0, **body: str) -> Delivery:
    return Delivery(
        json.dumps({"status": "success"} | body).encode(), {"Webhook-Id": message_id}, at
    )


def test_what_is_lost_failed_doubled_and_only_repeated_is_told_apart():
    sent = [Sent(number, str(number), at=0.0) for number in range(6)]
    deliveries = {
        "0": [delivery("a")],
        "1": [delivery("b"), delivery("b")],
        "2": [delivery("c"), delivery("d")],
        "3": [delivery("e"), delivery("e", output="another")],
        "4": [delivery("f", status="failed")],
    }

    found = findings(sent, deliveries, dict.fromkeys(range(6), "success"), [])

    assert (found.accepted, found.lost, found.failed) == (6, 1, 1)
    assert (found.doubled, found.repeated) == (2, 1)
    assert not found.held


def test_a_job_that_is_not_over_yet_is_late_and_not_lost():
    sent = [Sent(number, str(number), at=0.0) for number in range(2)]

    found = findings(sent, {}, {0: "processing", 1: "success"}, [])

    assert (found.lost, found.late, found.held) == (1, 1, False)
    assert found.lines()[-1] == "1 are not done yet: give it more --patience"


def test_a_job_whose_result_is_gone_again_failed():
    found = findings([Sent(1, "1", 0.0)], {"1": [delivery("a")]}, {1: "failed"}, [])

    assert (found.lost, found.failed) == (0, 1)


def test_recovery_is_counted_for_the_jobs_that_were_under_way():
    sent = [Sent(1, "1", at=0.0), Sent(2, "2", at=1.0), Sent(3, "3", at=6.0)]
    arrivals = {"1": 2.0, "2": 9.0, "3": 20.0}
    deliveries = {track: [delivery(track, at)] for track, at in arrivals.items()}

    found = findings(sent, deliveries, dict.fromkeys((1, 2, 3), "success"), [Kill("worker", 5.0)])

    assert found.recovered == (
        "worker killed with 1 jobs under way: the last one was told of 4.0 s later",
    )
