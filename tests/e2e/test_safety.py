"""A deployment with a safety checker that finds everything unsafe, through every real part."""

import json
from collections.abc import Iterator

import numpy as np
import pytest

from infra.local import Stack
from tests.e2e.conftest import Customer, pixels
from tests.servers import free_port
from tests.worker.gpu.tiny_safety import ALWAYS, make_checker, save

MODELS = """
safety_checker: {{source: {checker}, required: true}}
models:
  demo: {{family: sd, source: demo, scheduler: DDIMScheduler, limits: {{max_side: 256}}}}
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory, models_dir, site) -> Iterator[Customer]:
    """A customer of that deployment, which leaves nobody the choice."""
    folder = tmp_path_factory.mktemp("strict")
    checker = save(folder / "checker", make_checker(ALWAYS))
    (folder / "models.yaml").write_text(MODELS.format(checker=checker))
    metrics_port = free_port()
    settings = {
        "IMG2IMG_MODELS_FILE": str(folder / "models.yaml"),
        "IMG2IMG_MODELS_DIR": str(models_dir),
        "IMG2IMG_METRICS_PORT": str(metrics_port),
        "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
        "IMG2IMG_DRAIN": "1",
    }
    with Stack(data=folder / "stack", port=0, env=settings) as stack:
        customer = Customer(stack, metrics_port, site)
        with customer.http:
            yield customer


def test_the_pictures_that_come_back_are_covered_and_every_answer_says_so(strict):
    answer = strict.post(
        samples=2,
        safety_checker="yes",
        safety_checker_type="black",
        webhook=f"{strict.site.url}/hook",
    )
    ((_, raw),) = strict.webhooks(1)
    body = json.loads(raw)
    fetched = strict.fetch(answer["id"])

    assert [pixels(png).convert("L").getextrema() for png in strict.pngs(body)] == [(0, 0)] * 2
    for told in (body, fetched):
        assert told["nsfw_content_detected"] is True
        assert told["meta"]["nsfw_content_detected"] == [True, True]
        assert told["meta"]["safety_checker"] == "yes"
        assert told["meta"]["safety_checker_type"] == "black"
    assert strict.metric("img2img_pictures_flagged_total") >= 2


def test_a_check_that_is_required_is_not_switched_off_by_a_request(strict):
    answer = strict.post(safety_checker="no", seed=5)

    picture = np.asarray(pixels(strict.pngs(answer)[0]))
    colours = np.unique(picture.reshape(-1, 3), axis=0)
    assert answer["meta"]["safety_checker"] == "yes"
    assert answer["meta"]["safety_checker_type"] == "sensitive_content_text"
    assert (colours == colours[:, :1]).all(), "a grey sign, none of the picture's colours"
