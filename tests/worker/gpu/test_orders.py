"""What a worker does when an operator orders it."""

import os
import signal
import threading

import pytest

from shared.ledger.orders import Inbox
from tests.worker.gpu.fakes import CARD, FakePipeline
from worker.gpu.families.caches import Cache
from worker.gpu.orders import obey
from worker.gpu.pipelines import WarmPipelines

BUDGET = 1


class OneAtATime:
    """Memory for a single model."""

    budget = BUDGET

    def needs(self, card):
        return BUDGET

    would_add = needs

    def held(self, names):
        return BUDGET * len(names)

    def give_back(self):
        pass


def load(card, device):
    if card.model_id == "broken":
        raise OSError("no weights")
    return FakePipeline(card)


@pytest.fixture
def pipelines():
    names = ("first", "second", "broken")
    cards = [CARD.model_copy(update={"model_id": name}) for name in names]
    return WarmPipelines(cards, "cpu", load, memory=OneAtATime(), first="first")


@pytest.fixture
def order(redis, pipelines):
    """Give an order, have it obeyed, and say what the worker answered."""
    inbox = Inbox(redis, "gpu0")

    def order(what, model_id=""):
        redis.xadd("orders", {"what": what, "model_id": model_id})
        (read,) = inbox.read()
        said = []
        inbox.answer = lambda _, answer: said.append(answer)
        obey(read, inbox, pipelines)
        return said

    return order


def wait_for_load():
    for thread in threading.enumerate():
        if thread.name == "load":
            thread.join(10)


def test_a_model_is_loaded_in_place_of_another(order, pipelines):
    said = order("load", "second")
    wait_for_load()

    assert said == ["loading", "loaded"]
    assert pipelines.loaded == {"second"}


def test_a_model_that_is_there_stays(order, pipelines):
    said = order("load", "first")
    wait_for_load()

    assert (said, pipelines.loaded) == (["loading", "loaded"], {"first"})


def test_a_model_that_cannot_be_loaded_is_said_to_be_none(order, pipelines):
    said = order("load", "broken")
    wait_for_load()

    assert said == ["loading", "not loaded"]


def test_a_model_of_another_pool_is_not_this_workers_business(order):
    assert order("load", "elsewhere") == []


def test_caches_are_forgotten(order):
    cache = Cache("prompt", 10)
    cache.put("a", 1)

    assert order("forget") == ["forgotten"]
    assert cache.get("a") is None


def test_draining_begins_as_sigterm_begins_it(order, monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))

    assert order("drain") == ["draining"]
    assert sent == [(os.getpid(), signal.SIGTERM)]
