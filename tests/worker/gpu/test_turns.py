import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.gpu.turns import NoTurn, Turns

SECONDS = 10
HASTY = {"before_waiting": lambda: None, "given_up": lambda: False, "seconds": 0}


class Visit:
    """A job in the process, on a thread of its own, until it is told to leave."""

    def __init__(self, turns: Turns, threads: ThreadPoolExecutor, *, alone: bool = False) -> None:
        self.waits, self.entered, self.leave = (threading.Event() for _ in range(3))
        self._turns, self._alone = turns, alone
        self.is_unwanted = False
        self._end = threads.submit(self._run)

    def _run(self) -> None:
        with self._turns.take(
            alone=self._alone,
            before_waiting=self.waits.set,
            given_up=lambda: self.is_unwanted,
            seconds=2 * SECONDS,
        ) as waited:
            assert waited == self.waits.is_set()
            self.entered.set()
            assert self.leave.wait(SECONDS)

    def end(self) -> None:
        self.leave.set()
        self._end.result(SECONDS)

    def give_up(self) -> None:
        self.is_unwanted = True
        self._turns.look_again()
        with pytest.raises(NoTurn):
            self._end.result(SECONDS)


@pytest.fixture
def visit():
    turns = Turns()
    with ThreadPoolExecutor(8) as threads:
        yield lambda *, alone=False: Visit(turns, threads, alone=alone)


def comes_in(one: Visit) -> Visit:
    assert one.entered.wait(SECONDS)
    return one


def waits(one: Visit) -> Visit:
    assert one.waits.wait(SECONDS)
    assert not one.entered.is_set()
    return one


def test_jobs_work_beside_each_other(visit):
    for one in [comes_in(visit()) for _ in range(3)]:
        one.end()


def test_one_that_must_be_alone_waits_for_all_and_all_wait_for_it(visit):
    before = [comes_in(visit()) for _ in range(2)]
    suspect = waits(visit(alone=True))
    after = [waits(visit()) for _ in range(2)]

    before[0].end()
    assert not suspect.entered.is_set()
    before[1].end()
    comes_in(suspect)
    assert not any(one.entered.is_set() for one in after)

    suspect.end()
    for one in after:
        comes_in(one)
    for one in after:
        one.end()


def test_two_that_must_be_alone_go_one_after_the_other_and_starve_nobody(visit):
    first = comes_in(visit(alone=True))
    between = waits(visit())
    second = waits(visit(alone=True))

    first.end()
    comes_in(between)
    assert not second.entered.is_set()
    between.end()
    comes_in(second).end()


def test_who_waited_too_long_leaves_the_line_and_holds_up_nobody():
    turns = Turns()
    with turns.take(alone=False, **HASTY):
        with pytest.raises(NoTurn), turns.take(alone=True, **HASTY):
            pytest.fail("it was not alone")

        with turns.take(alone=False, **HASTY) as waited:
            assert not waited


def test_a_job_that_fails_leaves_the_line():
    turns = Turns()
    with pytest.raises(ValueError, match="broken"), turns.take(alone=True, **HASTY):
        raise ValueError("broken")

    with turns.take(alone=True, **HASTY) as waited:
        assert not waited


def test_who_is_given_up_leaves_the_line_at_once_and_the_others_keep_their_places(visit):
    first = comes_in(visit())
    suspect = waits(visit(alone=True))
    last = waits(visit())

    suspect.give_up()

    for one in (comes_in(last), first):
        one.end()
