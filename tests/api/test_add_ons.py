"""LoRAs, embeddings and VAE that a request names."""

import pytest

from tests.api.test_img2img import URL

pytestmark = pytest.mark.anyio

MODELS = """
models:
  demo: {family: sd, source: demo, scheduler: DDIMScheduler}
loras:
  ink: {family: sd, source: loras/ink.safetensors}
  styles/snow.v2: {family: sd, source: loras/snow.safetensors, licence: CC0-1.0}
  xl-ink: {family: sdxl, source: loras/xl.safetensors}
  a: {family: sd, source: a.safetensors}
  b: {family: sd, source: b.safetensors}
  c: {family: sd, source: c.safetensors}
  d: {family: sd, source: d.safetensors}
embeddings:
  moss: {family: sd, source: moss.safetensors, token: <moss>}
  bad-hands: {family: sd, source: hands.safetensors, token: bad-hands}
vaes:
  mse: {family: sd, source: vaes/mse}
"""


@pytest.fixture
def settings(settings):
    settings.models_file.write_text(MODELS)
    return settings


async def answer_to(client, request_body, **fields):
    return await client.post(URL, json=request_body | fields)


async def added(client, request_body, **fields):
    meta = (await answer_to(client, request_body, **fields)).json()["meta"]
    return {name: meta[name] for name in ("lora", "lora_strength", "embeddings", "vae")}


NOTHING = {"lora": None, "lora_strength": 1, "embeddings": None, "vae": None}


@pytest.mark.parametrize("value", [None, "", "null", "none", " ", ","])
async def test_what_clients_leave_in_fields_that_they_do_not_use_adds_nothing(
    client, request_body, value
):
    fields = dict.fromkeys(("lora_model", "lora_strength", "embeddings_model", "vae"), value)

    assert await added(client, request_body, **fields) == NOTHING


async def test_a_placeholder_adds_nothing(client, request_body):
    shown = await added(
        client,
        request_body,
        embeddings="embeddings_model_id",
        lora="lora_model_id",
        vae="vae_id",
    )

    assert shown == NOTHING


@pytest.mark.parametrize(
    ("fields", "lora", "strength"),
    [
        ({"lora_model": "ink"}, "ink", 1.0),
        ({"lora": "ink", "lora_strength": "0.45"}, "ink", 0.45),
        ({"lora_model": "ink", "lora_strength": 0}, "ink", 0.0),
        ({"lora_model": "ink,styles/snow.v2"}, "ink,styles/snow.v2", "1,1"),
        (
            {"lora_model": " ink , styles/snow.v2", "lora_strength": "0.8, 2"},
            "ink,styles/snow.v2",
            "0.8,2",
        ),
        ({"lora_model": "ink,a,b", "lora_strength": 0.5}, "ink,a,b", "0.5,0.5,0.5"),
        ({"lora_model": "ink,a,b", "lora_strength": "0.5,,"}, "ink,a,b", "0.5,1,1"),
        ({"lora_model": ["ink", "a"], "lora_strength": [0.5, 1]}, "ink,a", "0.5,1"),
        ({"lora_strength": "0.5"}, None, 1),
    ],
)
async def test_meta_shows_each_lora_and_its_strength(client, request_body, fields, lora, strength):
    shown = await added(client, request_body, **fields)

    assert (shown["lora"], shown["lora_strength"]) == (lora, strength)


async def test_meta_shows_embeddings_and_vae(client, request_body):
    shown = await added(client, request_body, embeddings="moss,bad-hands", vae="mse")

    assert shown == NOTHING | {"embeddings": "moss,bad-hands", "vae": "mse"}


async def test_a_worker_is_told_what_was_decided(client, request_body, attempts, redis):
    fields = {"lora": "ink,a", "lora_strength": "0.5", "embeddings_model": "moss", "vae": "mse"}
    await answer_to(client, request_body, **fields)

    (job_id,) = redis.zrange("published:default", 0, 0)
    params = attempts.claim(job_id, "1", "worker:1").job.params

    assert [(use.name, use.strength) for use in params.loras] == [("ink", 0.5), ("a", 0.5)]
    assert (params.embeddings, params.vae) == (("moss",), "mse")


@pytest.mark.parametrize(
    ("fields", "named", "text"),
    [
        (
            {"embeddings": "nothing"},
            "embeddings_model",
            "The embeddings model must be one of bad-hands, moss with the model demo, "
            "got 'nothing'.",
        ),
        (
            {"lora": "ink,xl-ink"},
            "lora_model",
            "The lora model must be one of a, b, c, d, ink, styles/snow.v2 with the model demo, "
            "got 'xl-ink', which is for models of the family sdxl.",
        ),
        ({"vae": "../mse"}, "vae", "The vae must be one of mse with the model demo, got '../mse'."),
        ({"vae": "mse,mse"}, "vae", "The vae must name each only once, got 'mse' twice."),
        ({"lora": "ink,ink"}, "lora_model", "must name each only once, got 'ink' twice"),
        ({"lora": "ink,a,b,c,d,styles/snow.v2"}, "lora_model", "must be at most 5 names, got 6"),
        ({"lora_model": "x" * 1001}, "lora_model", "at most 1000 characters"),
        (
            {"lora": "ink", "lora_strength": "1,1"},
            "lora_strength",
            "The lora strength must have one number for each LoRA, got 2 for 1.",
        ),
        *(
            (
                {"lora": "ink", "lora_strength": strength},
                "lora_strength",
                f"must be numbers from 0 to 2 with commas between, got {str(strength)!a}",
            )
            for strength in (2.1, -0.1, "nan", "inf", "strong", "0x1")
        ),
    ],
)
async def test_what_is_not_there_is_refused_with_what_is(client, request_body, fields, named, text):
    answer = await answer_to(client, request_body, **fields)

    assert answer.status_code == 400
    ((field, (shown,)),) = answer.json()["message"].items()
    assert field == named
    assert text in shown


class TestFlux:
    """A family that takes no embeddings."""

    @pytest.fixture
    def settings(self, settings):
        scheduler = "FlowMatchEulerDiscreteScheduler"
        text = MODELS.replace("family: sd, source: demo", "family: flux, source: demo")
        settings.models_file.write_text(text.replace("DDIMScheduler", scheduler))
        return settings

    async def test_it_is_refused_an_embedding(self, client, request_body):
        answer = await answer_to(client, request_body, embeddings="moss")

        assert answer.json()["message"]["embeddings_model"] == [
            "The embeddings model must be absent with the model demo, got 'moss', "
            "which is for models of the family sd."
        ]
