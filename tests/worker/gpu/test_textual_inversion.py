"""Learned words: in a prompt they are what diffusers makes of them, elsewhere nothing changes."""

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline

from shared.add_ons import Embedding
from shared.errors import BadInput
from shared.models import ModelCard
from tests.worker.gpu.fakes import Recorder, make_sample
from tests.worker.gpu.plain import Plain, difference, picture, run
from tests.worker.gpu.tiny_add_ons import save
from tests.worker.gpu.tiny_models import WIDTH, save_sdxl
from worker.gpu.families.prompt_embeddings import PromptEncoder
from worker.gpu.families.sdxl import TextAndSizes

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

TOKEN = "<moss>"
EXACT = 1e-5


def vectors(count, width, seed=1):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 0.05


def save_embedding(folder, name, tensors, family="sd", token=TOKEN):
    card = save(folder, name, tensors, family)
    return Embedding(name=name, family=family, source=card.source, token=token)


@pytest.fixture
def width(plain):
    return plain.pipe.text_encoder.config.hidden_size


@pytest.fixture
def encoder(plain):
    return PromptEncoder(plain.pipe.tokenizer, plain.pipe.text_encoder)


def encode(encoder, text, *embeddings):
    with torch.inference_mode():
        chunks = len(encoder.chunks(text, embeddings))
        return encoder.encode(text, chunks=chunks, embeddings=embeddings)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("prompt", "negative_prompt"), [("a cat in <moss> style", "blurry"), ("a cat", "<moss>, ugly")]
)
def test_a_learned_word_in_either_prompt_gives_the_picture_of_diffusers(
    demo, demo_folder, tmp_path, count, prompt, negative_prompt
):
    plain = Plain(demo_folder)
    width = plain.pipe.text_encoder.config.hidden_size
    card = save_embedding(tmp_path, "moss", {TOKEN: vectors(count, width)})
    sample = make_sample(
        model_id="demo",
        image=picture(1),
        prompt=prompt,
        negative_prompt=negative_prompt,
        embeddings=(card,),
    )
    recorder = Recorder(demo)

    run(recorder, sample)

    without = plain.alone(sample)
    plain.pipe.load_textual_inversion(card.source, token=TOKEN)
    assert difference(recorder.latents[sample][0], plain.alone(sample)) <= EXACT
    assert difference(recorder.latents[sample][0], without) > 100 * EXACT


def test_both_encoders_of_xl_take_their_own_vectors(tmp_path):
    folder = save_sdxl(tmp_path / "sdxl")
    learned = {"clip_l": vectors(2, WIDTH, 1), "clip_g": vectors(2, WIDTH, 2)}
    card = save_embedding(tmp_path, "moss", learned, "sdxl")
    plain = StableDiffusionXLImg2ImgPipeline.from_pretrained(folder, add_watermarker=False)
    conditioning = TextAndSizes(plain, ModelCard(model_id="sdxl", family="sdxl", source=folder))
    sample = make_sample(prompt="a cat, <moss>", guidance_scale=1.0, embeddings=(card,))

    with torch.inference_mode():
        conditioning.prepare(sample)
        ours = conditioning.conditions(sample)
    for part, number in (("clip_l", ""), ("clip_g", "_2")):
        plain.load_textual_inversion(
            {TOKEN: learned[part]},
            tokenizer=getattr(plain, f"tokenizer{number}"),
            text_encoder=getattr(plain, f"text_encoder{number}"),
        )
    with torch.inference_mode():
        theirs, _, pooled, _ = plain.encode_prompt("a cat, <moss>", device="cpu")

    assert torch.equal(ours.embeddings, theirs)
    assert torch.equal(ours.added["text_embeds"], pooled)


def test_the_word_means_nothing_to_a_request_that_did_not_name_the_embedding(
    encoder, plain, tmp_path, width
):
    card = save_embedding(tmp_path, "moss", {"emb_params": vectors(1, width)})
    vocabulary, before = len(plain.pipe.tokenizer), encode(encoder, "a cat, <moss>")

    learned = encode(encoder, "a cat, <moss>", card)

    assert not torch.equal(learned, before)
    assert torch.equal(encode(encoder, "a cat, <moss>"), before)
    assert torch.equal(encode(encoder, "a cat", card), encode(encoder, "a cat"))
    assert len(plain.pipe.tokenizer) == vocabulary


def test_a_word_is_found_in_either_case_and_not_inside_of_another(encoder, tmp_path, width):
    card = save_embedding(tmp_path, "moss", {"x": vectors(1, width)}, token="easyMoss")

    found = encode(encoder, "a cat, easymoss", card)

    assert torch.equal(found, encode(encoder, "a cat, EASYMOSS", card))
    assert torch.equal(found, encode(encoder, "a cat, ea\u017fymo\u017f\u017f", card))
    assert torch.equal(
        encode(encoder, "a cat, uneasymossy", card), encode(encoder, "a cat, uneasymossy")
    )


def test_the_longer_of_two_words_wins(encoder, tmp_path, width):
    short = save_embedding(tmp_path, "short", {"x": vectors(1, width, 1)}, token="moss")
    longer = save_embedding(tmp_path, "long", {"x": vectors(1, width, 2)}, token="moss-v2")

    both = encode(encoder, "a moss-v2", short, longer)

    assert torch.equal(both, encode(encoder, "a moss-v2", longer))


def test_a_weight_counts_for_every_vector_of_a_word(encoder, tmp_path, width):
    card = save_embedding(tmp_path, "moss", {"x": vectors(3, width)})

    (chunk,) = encoder.chunks("a (<moss>:1.3)", (card,))

    assert chunk.weights == (1.0, 1.3, 1.3, 1.3)


def test_the_vectors_of_a_word_stay_in_one_chunk(encoder, tmp_path, width):
    card = save_embedding(tmp_path, "moss", {"x": vectors(3, width)})

    first, second = encoder.chunks("cat " * 73 + "<moss>, cat", (card,))

    assert (len(first.tokens), len(second.tokens)) == (73, 5)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"x": torch.ones(1, 3)}, "does not fit"),
        ({"x": torch.ones(2, 2, 64)}, "does not fit"),
        ({"x": torch.ones(1, 64), "y": torch.ones(1, 64)}, "does not fit"),
        ({"x": torch.ones(76, 64)}, "damaged"),
        ({"x": torch.ones(1, 64) / 0.0}, "damaged"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(demo, tmp_path, tensors, reason):
    card = save_embedding(tmp_path, "moss", tensors)

    with pytest.raises(BadInput, match=f"The embedding moss .*{reason}"):
        demo.prepare(make_sample(embeddings=(card,)))


@pytest.mark.parametrize("data", [None, b"", b"\xff" * 64])
def test_a_file_that_is_missing_or_no_safetensors_is_refused(demo, tmp_path, data):
    source = tmp_path / "broken.safetensors"
    if data is not None:
        source.write_bytes(data)
    card = Embedding(name="broken", family="sd", source=source, token=TOKEN)

    with pytest.raises(BadInput, match="The embedding broken cannot be read"):
        demo.prepare(make_sample(embeddings=(card,)))
