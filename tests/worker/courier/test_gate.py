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
    PROMPT,
    QUICKEST,
    SLOW,
    Gate,
    address,
)

HOST, OTHER = "https://shop.example.com/hook", "https://other.example.com/hook"


class Door:
    """A gate, its clock, and deliveries that come and go."""

    def __init__(self, **settings: int) -> None:
        self.now = 1000.0
        self.gate = Gate(CourierSettings(**settings), clock=lambda: self.now)
        self.under_way = []

    def enter(self, url: str = HOST, tenant: str = "alice") -> float:
        job = make_job(webhook=url, tenant=tenant)
        wait = self.gate.enter(job)
        if not wait:
            self.under_way.append(job)
        return wait

    def leave(self, *, well: bool | None, url: str = HOST, seconds=0.1) -> None:
        """The first of a receiver's ends."""
        job = next(job for job in self.under_way if job.webhook == url)
        self.under_way.remove(job)
        self.gate.leave(job, seconds, well=well)

    def meet(self, *urls: str, tenant: str = "alice") -> None:
        """These receivers have answered, and soon."""
        for url in urls:
            assert self.enter(url, tenant) == 0
            self.leave(well=True, url=url, seconds=QUICKEST)

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
    door.meet(HOST)

    waits = [door.enter() for _ in range(4)]

    assert waits[:3] == [0, 0, 0]
    assert waits[3] > 0
    assert door.enter(OTHER) == 0
    door.leave(well=True)
    assert door.enter() == 0


def test_those_that_wait_come_back_one_after_the_other_at_the_receivers_pace():
    door = Door(deliveries_per_host=2)
    door.meet(HOST)
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
    door.meet(HOST)
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


def test_a_receiver_that_is_new_is_asked_by_one_alone_and_then_by_as_many_as_its_share():
    door = Door(deliveries_per_host=3)

    assert door.enter() == 0
    assert door.enter() > 0
    door.leave(well=True)

    assert [door.enter() == 0 for _ in range(4)] == [True, True, True, False]


def hanging(number: int) -> tuple[str, str]:
    """A receiver that never answers, and its tenant: a few receivers for each."""
    return f"https://hangs-{number}.example.com/", f"tenant-{number // 4}"


def test_however_many_receivers_hang_one_that_is_known_to_be_prompt_finds_a_place():
    door = Door()
    door.meet(HOST)

    for number in range(1000):
        door.enter(*hanging(number))
        assert door.gate.room > 0

    assert [door.enter() for _ in range(8)] == [0] * 8


def test_a_receiver_that_hangs_gives_its_place_back_when_the_others_would_miss_it():
    door = Door()
    while door.enter(*hanging(len(door.under_way))) == 0:
        pass
    assert len(door.under_way) == door.gate.room == 32
    assert door.enter(OTHER) > 0

    door.now += PROMPT

    assert door.gate.room == 64
    assert door.enter(OTHER) == 0


def test_two_tenants_with_four_hanging_receivers_each_leave_a_new_one_its_place_at_once():
    door = Door()
    for number in range(8):
        door.enter(*hanging(number))

    door.meet(HOST)

    assert [door.enter() for _ in range(8)] == [0] * 8


def test_receivers_that_were_prompt_and_hang_all_at_once_give_their_places_back():
    door = Door()
    crowd = [hanging(number) for number in range(0, 64, 4)]
    for url, tenant in crowd:
        door.meet(url, tenant=tenant)
    door.meet(HOST)
    for url, tenant in crowd * 4:
        door.enter(url, tenant)
    assert len(door.under_way) == 64
    assert door.gate.room == 0

    door.now += PROMPT

    assert door.gate.room == 64
    assert [door.enter() for _ in range(8)] == [0] * 8


def test_no_more_than_a_few_times_its_places_hang_and_a_prompt_receiver_does_not_notice():
    door = Door(deliveries=8)
    door.meet(HOST)
    number = 0
    for _ in range(20):
        while door.enter(*hanging(number)) == 0:
            number += 1
        door.now += PROMPT

    assert len(door.under_way) == SLOW * 8
    assert door.enter() == 0


def test_receivers_that_failed_leave_room_for_new_ones_however_many_they_are():
    door = Door()
    crowd = [hanging(number) for number in range(300)]
    for url, tenant in crowd:
        while door.enter(url, tenant):
            door.now += PROMPT
        door.leave(well=False, url=url, seconds=15)

    for second in range(20):
        for url, tenant in crowd:
            door.enter(url, tenant)
        door.meet(f"https://new-{second}.example.com/", tenant="bob")
        door.now += PROMPT

    assert len(door.under_way) == SLOW // 2 * 64


def test_one_that_answers_but_late_is_a_stranger_until_it_is_prompt_again():
    door = Door(deliveries=2)
    door.meet(HOST)
    door.enter()
    door.leave(well=True, seconds=10)
    assert door.enter(OTHER) == 0

    assert door.enter() > 0
    door.leave(well=True, url=OTHER)

    assert door.enter() == 0


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
    door.meet(HOST)
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
