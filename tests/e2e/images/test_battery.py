"""Bad and odd images over HTTP: each comes to what it must, and the worker does not notice."""

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local import Stack
from tests.e2e.images import addresses, bombs, formats, kinds, texts
from tests.e2e.images.case import Case, case
from tests.processes import decoders_of, resident_bytes, until
from tests.servers import free_port, http_server
from tests.worker.gpu.pictures import FORMATS, encoded, photo

MUTATIONS = 1000
"""Of each format."""
FIELDS = {"prompt": "a", "num_inference_steps": 2, "strength": 1.0, "enhance_prompt": "no"}
MOST_GROWTH = 50 * 2**20


@dataclass(frozen=True)
class Outcome:
    """What came of a case."""

    case: Case
    status: int
    answer: dict[str, Any]

    @property
    def accepted(self) -> bool:
        return self.answer["status"] == "success"

    @property
    def is_wrong(self) -> bool:
        if self.case.refused is None:
            meta = self.answer.get("meta", {})
            size = self.case.size
            return not self.accepted or size not in (None, (meta["W"], meta["H"]))
        return self.accepted or self.case.refused not in json.dumps(self.answer)

    def __str__(self) -> str:
        return f"{self.case} -> {self.status} {json.dumps(self.answer)[:200]}"


class Service:
    """The whole of it, on a device that only takes time."""

    def __init__(self, stack: Stack, metrics_port: int) -> None:
        self.stack = stack
        self.http = httpx.Client(base_url=stack.url, timeout=120)
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"

    @property
    def pid(self) -> int | None:
        return self.stack.processes["simulated"].pid

    def run(self, case: Case) -> Outcome:
        body = {"key": self.stack.key} | FIELDS | case.fields
        path = "/api/v3/inpaint" if "mask_image" in case.fields else "/api/v3/img2img"
        answer = self.http.post(path, json=body, headers={"Prefer": "wait=55"})
        return Outcome(case, answer.status_code, answer.json())

    def run_all(self, cases: Iterator[Case]) -> list[Outcome]:
        with ThreadPoolExecutor(8) as threads:
            return list(threads.map(self.run, cases))

    def painted(self) -> float:
        """Samples that the device has finished."""
        name = "img2img_engine_samples_finished_total"
        [value] = re.findall(rf"^{name} (\S+)", httpx.get(self._metrics).text, re.MULTILINE)
        return float(value)


@pytest.fixture(scope="module")
def temporary(tmp_path_factory) -> Path:
    """The service's own temporary folder."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def service(tmp_path_factory, temporary) -> Iterator[Service]:
    metrics_port = free_port()
    settings = {
        "IMG2IMG_STEP_TIME": "0.001",
        "IMG2IMG_FETCH_TIMEOUT": "5",
        "IMG2IMG_DECODE_WALL": "60",  # the machine may be busy with other tests
        "IMG2IMG_METRICS_PORT": str(metrics_port),
        "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
        "TMPDIR": str(temporary),
    }
    processes = ("redis", "s3", "simulated", "courier", "api")
    data = tmp_path_factory.mktemp("images")
    with Stack(data, port=0, env=settings, processes=processes) as stack:
        service = Service(stack, metrics_port)
        with service.http:
            yield service


def test_every_case_comes_to_what_it_must_and_the_worker_does_not_notice(service, temporary):
    service.run_all(case(0, "a warm-up", encoded(photo((5000, 1000)))) for _ in range(8))
    pid, memory, painted = service.pid, resident_bytes(service.pid), service.painted()

    with http_server(lambda request: pytest.fail("an SVG was followed")) as canary:
        with addresses.misbehaving() as url:
            all_cases = chain(
                addresses.cases(url),
                formats.cases(canary.port),
                bombs.cases(),
                kinds.cases(),
                texts.cases(),
            )
            outcomes = service.run_all(all_cases)
        assert canary.requests == []

    wrong = [str(outcome) for outcome in outcomes if outcome.is_wrong]
    assert not wrong, "\n".join(wrong)
    # 40 is below: what a mutation comes to, nobody knows.
    assert {outcome.case.number for outcome in outcomes} == set(range(1, 85)) - {40}
    assert max(outcome.status for outcome in outcomes) < 500
    accepted = sum(outcome.accepted for outcome in outcomes)
    assert service.painted() - painted == accepted, "a refused one came to the device"
    assert (service.pid, service.stack.processes["simulated"].starts) == (pid, 1)
    until(lambda: resident_bytes(pid) - memory < MOST_GROWTH)
    assert list(temporary.iterdir()) == []


def test_whatever_is_damaged_the_service_answers_with_a_picture_or_a_reason(service):
    mutations = (
        case(40, f"{name} {seed}", bombs.mutation(name, seed))
        for name in FORMATS
        for seed in range(MUTATIONS)
    )
    pid, memory = service.pid, resident_bytes(service.pid)

    outcomes = service.run_all(mutations)

    reasons = ("init_image", "must be a PNG")
    unclear = [
        str(outcome)
        for outcome in outcomes
        if not outcome.accepted and not any(why in str(outcome.answer) for why in reasons)
    ]
    assert not unclear, "\n".join(unclear)
    assert len(outcomes) == 3 * MUTATIONS
    assert max(outcome.status for outcome in outcomes) < 500
    assert 0 < sum(outcome.accepted for outcome in outcomes) < len(outcomes)
    assert (service.pid, service.stack.processes["simulated"].starts) == (pid, 1)
    until(lambda: resident_bytes(pid) - memory < MOST_GROWTH)


def test_a_worker_goes_on_when_somebody_kills_its_decoders(service):
    killed = decoders_of(service.pid)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    outcomes = service.run_all(case(0, "a photo", encoded(photo())) for _ in range(8))

    assert [str(outcome) for outcome in outcomes if outcome.is_wrong] == []
    assert len(killed) == 2
    assert not killed & decoders_of(service.pid)
    assert service.stack.processes["simulated"].starts == 1
