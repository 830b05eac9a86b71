"""What becomes of a prompt: quality words, a style's words, or work for a text model."""

import pytest

from api.config import ApiSettings
from api.enhance import PLAIN, read_styles
from tests.api.conftest import KEY
from tests.api.test_img2img import URL

pytestmark = pytest.mark.anyio

STYLES = 'ink: "{prompt}, black ink"\nOld Photo: "faded photograph of {prompt}"\n'
QUALITY = PLAIN.removeprefix("{prompt}, ")


@pytest.fixture
def settings(settings, tmp_path):
    (tmp_path / "styles.yaml").write_text(STYLES)
    return settings.model_copy(update={"styles_file": tmp_path / "styles.yaml"})


async def meta_of(client, request_body, **fields):
    fields = request_body | {"prompt": "a cat"} | fields
    answer = await client.post(URL, json={k: v for k, v in fields.items() if v != "left out"})
    meta = answer.json()["meta"]
    return meta["prompt"], meta["enhance_prompt"], meta["enhance_style"]


@pytest.mark.parametrize(
    ("enhance", "style", "shown"),
    [
        ("yes", None, (f"a cat, {QUALITY}", "yes", None)),
        ("no", None, ("a cat", "no", None)),
        ("yes", "ink", ("a cat, black ink", "yes", "ink")),
        ("left out", "INK", ("a cat, black ink", "yes", "ink")),
        ("yes", "old_photo", ("faded photograph of a cat", "yes", "old-photo")),
        ("no", "ink", ("a cat", "no", None)),
        ("yes", "no such style", (f"a cat, {QUALITY}", "yes", None)),
    ],
)
async def test_meta_shows_the_prompt_that_is_run(client, request_body, enhance, style, shown):
    fields = {"enhance_prompt": enhance, "enhance_style": style}
    assert await meta_of(client, request_body, **fields) == shown


async def test_quality_words_stand_alone_where_there_is_no_prompt(client, request_body):
    body = request_body | {"prompt": "", "model_id": "demo"}
    answer = await client.post("/api/v6/images/img2img", json=body)

    assert answer.json()["meta"]["prompt"] == QUALITY


async def v1(client, **fields):
    body = {"prompt": "a cat"} | fields
    return await client.post("/v1/text2img", json=body, headers={"Authorization": f"Bearer {KEY}"})


async def test_our_own_api_enhances_when_a_style_is_named(client):
    plain, styled = await v1(client), await v1(client, enhance_style="ink")

    assert plain.json()["parameters"]["prompt"] == "a cat"
    assert styled.json()["parameters"]["prompt"] == "a cat, black ink"


async def test_our_own_api_refuses_a_style_that_is_not_there(client):
    answer = await v1(client, enhance_style="cubist")

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "enhance_style")
    reason = "must be one of ink, old-photo, got 'cubist'"
    assert answer.json()["error"]["message"] == f"enhance_style {reason}"


@pytest.fixture
def text_model(settings):
    with settings.models_file.open("a") as file:
        file.write("\nprompt_enhancer: {source: somewhere}")


@pytest.mark.usefixtures("text_model")
@pytest.mark.parametrize(
    ("fields", "prompt", "opening"),
    [
        ({}, f"a cat, {QUALITY}", "a cat"),
        ({"enhance_style": "ink"}, "a cat, black ink", "a cat, black ink"),
        ({"enhance_prompt": "no"}, "a cat", None),
    ],
)
async def test_a_text_model_goes_on_from_the_prompt_and_its_style(
    client, attempts, request_body, fields, prompt, opening
):
    answer = await client.post(URL, json=request_body | {"prompt": "a cat"} | fields)

    params = attempts.claim(str(answer.json()["id"]), "1", "worker").job.params
    assert (params.prompt, params.opening) == (prompt, opening)


@pytest.mark.parametrize("text", ["ink: no place", "ink: [1]", "ink: '{prompt} {prompt}'"])
def test_a_style_without_one_place_for_the_prompt_is_named(tmp_path, text):
    (tmp_path / "styles.yaml").write_text(text)

    with pytest.raises(ValueError, match=r"styles\.yaml: ink: must be a text"):
        read_styles(tmp_path / "styles.yaml")


def test_the_styles_that_come_with_the_service_can_be_read():
    styles = read_styles(ApiSettings.model_fields["styles_file"].default)

    assert styles["watercolour"].startswith("watercolour of {prompt}")
