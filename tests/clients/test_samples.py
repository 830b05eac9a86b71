"""Every program on the page of samples, run as it stands against the service."""

import io
import itertools
import json
import queue
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.clients.conftest import SIDE, listens, run
from tests.servers import HttpServer, Reply, Request, Server, free_port, http_server

PAGE = Path("infra/docs/api.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
LANGUAGES = {
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "--eval"],
}
TOOLS = {"sh": ("bash", "curl", "jq", "openssl"), "python": (), "js": ("node",)}
MAKES_IMAGES = {"Image to image": 1, "Inpaint": 1, "Text to image": 4, "Fetch": 1}
"""Sections, and how many pictures their answers have."""

SIGNED = ("id", "timestamp", "signature")
"""What the headers of a webhook say, after `webhook-`."""

every_language = pytest.mark.parametrize("language", LANGUAGES)


def sample(section: str, language: str) -> str:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", SECTIONS[section], re.M | re.S)
    return code


@pytest.fixture
def command(site):
    """How the sample of a section is run, with examples replaced by what is there."""

    def command(section, language):
        if missing := [tool for tool in TOOLS[language] if not shutil.which(tool)]:
            pytest.skip(f"not installed: {', '.join(missing)}")
        # In this order: a port may have a 512 in it.
        code = sample(section, language).replace("512", str(SIDE))
        return [*LANGUAGES[language], code.replace("https://example.com", site.url)]

    return command


@pytest.fixture
def site(photo) -> Iterator[HttpServer]:
    """The customer's web server, which has the pictures and takes webhooks."""

    def answer(asked: Request) -> Reply:
        if asked.path == "/hook":
            return Reply(204)
        return Reply(200, (photo.parent / asked.path[1:]).read_bytes())

    with http_server(answer) as one:
        yield one


@pytest.fixture
def printed(command, stack, photo):
    """The lines that a sample prints."""

    def printed(section, language):
        program = command(section, language)
        return run(program, photo.parent, URL=stack.url, KEY=stack.key).splitlines()

    return printed


@pytest.fixture
def said(printed):
    """The JSON that a sample prints."""
    return lambda section, language: json.loads("\n".join(printed(section, language)))


@every_language
@pytest.mark.parametrize("section", MAKES_IMAGES)
def test_a_sample_that_makes_images_prints_their_links(said, section, language):
    answer = said(section, language)

    assert answer["status"] == "success", answer
    assert len(answer["output"]) == MAKES_IMAGES[section]
    for link in answer["output"]:
        with Image.open(io.BytesIO(httpx.get(link).content)) as picture:
            assert (picture.format, picture.size) == ("PNG", (SIDE, SIDE))


@every_language
def test_a_sample_that_uploads_prints_a_link_to_the_same_file(said, photo, language):
    answer = said("Uploads", language)

    assert answer["status"] == "success", answer
    assert httpx.get(answer["link"]).content == photo.read_bytes()


@every_language
def test_a_sample_that_asks_for_the_queue_prints_its_length(said, language):
    assert said("Queue", language) == {"queue_num": 0, "queue_time": 0, "status": "ok"}


@every_language
def test_a_sample_makes_the_small_calls(printed, language):
    models, count, checked, deleted = map(json.loads, printed("Small calls", language))

    assert [model["model_id"] for model in models] == ["demo"]
    assert (count["status"], count["processing_count"]) == ("success", 0)
    assert (checked["status"], "checker" in checked["message"]) == ("error", True), "demo has none"
    assert (deleted["status"], deleted["message"]) == ("success", "image deleted")


@every_language
def test_a_sample_follows_a_job_from_its_upload_to_its_end(printed, language):
    models, tried, *events, job, jobs = printed("A job of our own API", language)

    job, jobs = json.loads(job), json.loads(jobs)["jobs"]
    assert [model["model_id"] for model in json.loads(models)["models"]] == ["demo"]
    assert json.loads(tried)["dry_run"] is True
    assert [line for line in events if line.startswith("event: ")][-1] == "event: succeeded"
    assert (job["status"], job["track_id"], jobs) == ("succeeded", "order-7", [job])
    assert httpx.get(job["images"][0]["url"]).status_code == 200


@every_language
def test_a_sample_replays_a_webhook_and_cancels_a_job(printed, language):
    replayed, cancelled = map(json.loads, printed("Deliveries and cancelling", language))

    assert replayed["status"] in ("pending", "delivered")
    assert replayed["attempts"][0]["status"] == 204
    assert cancelled["status"] == "cancelled"


@pytest.fixture(scope="module")
def delivery(stack) -> Request:
    """A webhook as the service sends it."""
    hooks: queue.Queue[Request] = queue.Queue()

    def answer(request: Request) -> Reply:
        hooks.put(request)
        return Reply(204)

    with http_server(answer) as server:
        fields = {"prompt": "a cat", "width": SIDE, "height": SIDE, "track_id": 7}
        asked = {"key": stack.key, "webhook": server.url, **fields}
        httpx.post(f"{stack.url}/api/v3/text2img", json=asked).raise_for_status()
        return hooks.get(timeout=60)


@pytest.mark.parametrize("language", ["python", "js"])
def test_a_receiver_takes_the_services_webhooks_and_refuses_forged_ones(
    command, delivery, keys, tmp_path, language
):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = [word.replace("9000", str(port)) for word in command("Webhooks", language)]
    receiver = Server(
        program,
        port=port,
        directory=tmp_path,
        answers=lambda: listens(port),
        environment={"SECRET": keys[0]["webhook_secret"]},
    )
    headers = {f"webhook-{name}": delivery.headers[f"webhook-{name}"] for name in SIGNED}
    receiver.start()
    try:
        genuine = httpx.post(url, content=delivery.body, headers=headers)
        forged = httpx.post(url, content=delivery.body + b" ", headers=headers)
    finally:
        receiver.stop()

    assert (genuine.status_code, forged.status_code) == (204, 401)
    (log,) = tmp_path.glob("*.log")
    assert "success 7\n" in log.read_text()


def test_a_webhook_is_checked_by_hand(command, delivery, keys, tmp_path):
    given = {name.upper(): delivery.headers[f"webhook-{name}"] for name in SIGNED}

    def verdict(body: bytes) -> str:
        (tmp_path / "body.json").write_bytes(body)
        secret = keys[0]["webhook_secret"]
        return run(command("Webhooks", "sh"), tmp_path, SECRET=secret, **given)

    assert verdict(delivery.body) == "genuine\n"
    assert verdict(delivery.body + b" ") == "forged\n"


def test_every_section_has_a_program_in_every_language():
    for section, language in itertools.product(SECTIONS, LANGUAGES):
        assert sample(section, language)
