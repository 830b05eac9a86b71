"""Who may be called when, on a clock that a test moves."""

import pytest

from tests.jobs import make_job
from worker.courier import gate
from worker.courier.config import CourierSettings
from worker.courier.gate import (
    FAILURES,
    HASTE,
    JITTER,
    LONGEST_OPEN,
    LONGEST_TURN,
    OPEN_SECONDS,
    QUICKEST,
    Gate,
    address,
)

HOST, OTHER = "https://shop.example.com/hook", "https://other.example.com/hook"


class Door:
    """A gate, its clock, and deliveries that come and go."""

    def __init__(self, **settings: int) -> None:
        self.now = 1000.0
        self.gate = Gate(CourierSettings(**settings), clock=lambda: self.now)

    def enter(self, url: str = HOST, tenant: str = "alice") -> float:
        return self.gate.enter(make_job(webhook=url, tenant=tenant))

    def leave(self, *, well: bool | None, url: str = HOST, seconds=0.1, tenant="alice") -> None:
        self.gate.leave(make_job(webhook=url, tenant=tenant), seconds, well=well)

    def fail(self, times: int) -> None:
        """So many deliveries, one after the other."""
        for _ in range(times):
            assert self.enter() == 0
            self.leave(well=False)

    def probe(self, *, well: bool) -> float:
        """Wait until the next one is let through, see how it ends: the seconds waited."""
        waited = 0.0
        while wait := self.enter():
            self.now += wait
            waited += wait
        self.leave(well=well)
        return waited


def test_a_receiver_has_no_more_under_way_than_its_share_and_another_one_goes_on():
    door = Door(deliveries_per_host=3)

    waits = [door.enter() for _ in range(4)]

    assert waits[:3] == [0, 0, 0]
    assert waits[3] > 0
    assert door.enter(OTHER) == 0
    door.leave(well=True)
    assert door.enter() == 0


def test_those_that_wait_come_back_one_after_the_other_at_the_receivers_pace():
    door = Door(deliveries_per_host=2)
    door.enter(), door.enter()
    for _ in range(40):
        door.leave(well=True, seconds=4)
        door.enter()

    waits = [door.enter() for _ in range(4)]

    assert waits == pytest.approx([2 / HASTE, 4 / HASTE, 6 / HASTE, 8 / HASTE])


def test_nobody_waits_for_a_turn_that_is_far_away():
    door = Door(deliveries_per_host=1)
    door.enter()

    waits = [door.enter() for _ in range(10_000)]

    assert waits[0] == pytest.approx(QUICKEST / HASTE)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(LONGEST_TURN)


def test_a_burst_that_is_over_leaves_no_long_wait():
    door = Door(deliveries_per_host=2)
    door.enter(), door.enter()
    for _ in range(20_000):
        door.enter()
    door.now += LONGEST_TURN
    door.leave(well=True, seconds=QUICKEST)
    door.enter()

    assert door.enter() == pytest.approx(QUICKEST / 2 / HASTE)


def test_one_that_hangs_is_known_by_those_under_way():
    door = Door(deliveries_per_host=1)
    door.enter()
    door.now += 10

    assert door.enter() == pytest.approx(10 / HASTE)


def test_a_tenant_with_many_receivers_leaves_room_for_the_others():
    door = Door(deliveries_per_host=2, deliveries_per_tenant=4)

    waits = [door.enter(f"https://{n}.example.com/") for n in range(6)]

    assert waits[:4] == [0, 0, 0, 0]
    assert 0 < waits[4] < waits[5]
    assert door.enter("https://9.example.com/", tenant="bob") == 0
    door.leave(well=True, url="https://0.example.com/")
    assert door.enter("https://5.example.com/") == 0


def test_a_receiver_that_fails_again_and_again_is_left_alone_for_a_while():
    door = Door()

    door.fail(FAILURES)

    assert OPEN_SECONDS <= door.enter() <= OPEN_SECONDS * (1 + JITTER) + 1
    assert door.enter(OTHER) == 0
    assert door.gate.open_breakers == 1


def test_failures_with_a_success_between_them_are_not_held_against_it():
    door = Door()

    door.fail(FAILURES - 1)
    assert door.probe(well=True) == 0
    door.fail(FAILURES - 1)

    assert door.enter() == 0


def test_what_was_never_sent_says_nothing_of_the_receiver():
    door = Door()

    for _ in range(FAILURES * 2):
        assert door.enter() == 0
        door.leave(well=None)

    assert door.gate.open_breakers == 0


def test_deliveries_that_were_under_way_when_it_opened_open_it_only_once():
    door = Door(deliveries_per_host=8)
    for _ in range(8):
        door.enter()

    for _ in range(8):
        door.leave(well=False, seconds=15)

    assert door.enter() <= OPEN_SECONDS * (1 + JITTER) + 15


def test_one_probe_at_a_time_is_let_through_and_a_success_opens_the_way():
    door = Door()
    door.fail(FAILURES)
    door.now += OPEN_SECONDS * (1 + JITTER)

    assert door.enter() == 0
    assert door.enter() > 0
    door.leave(well=True)

    assert [door.enter() for _ in range(3)] == [0, 0, 0]
    assert door.gate.open_breakers == 0


def test_each_probe_that_fails_doubles_the_time_up_to_some_minutes():
    door = Door()
    door.fail(FAILURES)

    waits = [door.probe(well=False) for _ in range(7)]

    for number, wait in enumerate(waits):
        planned = min(OPEN_SECONDS * 2**number, LONGEST_OPEN)
        assert planned <= wait <= planned * (1 + JITTER) + 1


def test_a_receiver_that_fails_for_weeks_is_still_probed():
    door = Door()
    door.fail(FAILURES)

    waits = [door.probe(well=False) for _ in range(3000)]

    assert waits[-1] <= LONGEST_OPEN * (1 + JITTER) + 1


def test_after_a_success_the_times_start_anew():
    door = Door()
    door.fail(FAILURES)
    door.probe(well=False)
    door.probe(well=True)

    door.fail(FAILURES)

    assert door.enter() <= OPEN_SECONDS * (1 + JITTER) + 1


def test_only_so_many_receivers_are_remembered(monkeypatch):
    monkeypatch.setattr(gate, "MAX_RECEIVERS", 2)
    door = Door()
    door.fail(FAILURES)
    assert door.enter() > 0

    for url in ("https://2.example.com/", "https://3.example.com/"):
        door.enter(url)
        door.leave(well=False, url=url)

    assert door.enter() == 0


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Shop.Example.com/a?b#c", "shop.example.com"),
        ("https://shop.example.com:443/", "shop.example.com"),
        ("http://shop.example.com:8080/", "shop.example.com:8080"),
        ("https://bücher.example.com/", "xn--bcher-kva.example.com"),
        ("https://[::1", "https://[::1"),
    ],
)
def test_a_receiver_is_a_host_and_port_however_it_is_written(url, host):
    assert address(make_job(webhook=url)) == host
