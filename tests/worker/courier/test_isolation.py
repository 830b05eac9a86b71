"""Receivers that hang do not slow the others: real sockets, one courier, time-outs made short."""

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.servers import free_port
from tests.worker.courier.isolation import beside_a_hanging_one, due_at_once, later
from tests.worker.courier.running import courier, delivered, finish_all, listeners, until
from worker.courier.gate import FAILURES

GOOD = 60


@contextmanager
def listening() -> Iterator[int]:
    """A port where a receiver is that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_two_hundred_to_a_hanging_receiver_do_not_delay_sixty_to_a_good_one(
    ledger, valkey_server, tmp_path
):
    outcome = beside_a_hanging_one(ledger, valkey_server.url, tmp_path)

    assert outcome.ended == 0  # all the good ones came while the first hanging ones still hung
    assert outcome.most <= 8


def test_a_hundred_hanging_receivers_of_many_tenants_do_not_delay_a_new_one(
    ledger, receiver, valkey_server, tmp_path
):
    with ExitStack() as sockets:
        # Connections are taken by the kernel, and nobody reads from them.
        ports = [sockets.enter_context(listening()) for _ in range(100)]
        stuck = [
            job
            for number, port in enumerate(ports)
            for job in finish_all(ledger, [f"http://127.0.0.1:{port}/"] * 2, tenant=f"t{number}")
        ]
        good = finish_all(ledger, [receiver.url] * GOOD)
        later(ledger, stuck + good)
        with courier(valkey_server.url, tmp_path, webhook_timeout=60, drain=0):
            until(lambda: listeners(ledger.redis) == 1)
            due_at_once(ledger, stuck + good)
            until(lambda: len(receiver.arrivals) == GOOD)
            ended = [job for job in stuck if ledger.redis.llen(f"attempts:{job.id}")]

    assert ended == []


def test_deliveries_that_were_put_off_are_no_attempts(ledger, receiver, valkey_server, tmp_path):
    nowhere = f"http://127.0.0.1:{free_port()}/"
    failing, good = finish_all(ledger, [nowhere] * 20), finish_all(ledger, [receiver.url])
    later(ledger, failing)

    port = free_port()
    with courier(valkey_server.url, tmp_path, courier_metrics_port=port, metrics_host="127.0.0.1"):
        until(lambda: listeners(ledger.redis) == 1)
        due_at_once(ledger, failing)
        until(lambda: all(ledger.due_in("outbox", job) > 2 for job in failing))
        until(lambda: delivered(ledger, *good))
        until(lambda: "img2img_webhook_open_breakers 1.0" in metrics(port))
        counted = metrics(port)

    attempts = [ledger.redis.llen(f"attempts:{job.id}") for job in failing]
    assert set(attempts) == {0, 1}
    assert FAILURES <= sum(attempts) < FAILURES + 8
    assert 'img2img_webhook_deliveries_total{outcome="put_off"}' in counted
    assert 'img2img_webhook_deliveries_total{outcome="retry"}' in counted
    assert 'img2img_webhook_deliveries_total{outcome="delivered"} 1.0' in counted
    assert "img2img_webhook_latency_seconds_count 1.0" in counted
    assert 'img2img_jobs_waiting{pool="default"} 0.0' in counted
    assert "img2img_dead_letters 0.0" in counted


def metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return answer.read().decode()
