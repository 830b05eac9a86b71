"""The text model that goes on with prompts: a tiny GPT-2 with random weights."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from shared.models import PromptEnhancer
from worker.gpu.families import load_text_model, text
from worker.gpu.families.text import MOST_READ, MOST_WRITTEN

END = "<|endoftext|>"


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A letter is a token."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([END, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def tiny_gpt2(positions: int = 256) -> GPT2LMHeadModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = GPT2Config(
            vocab_size=257, n_positions=positions, n_embd=32, n_layer=2, n_head=2,
            bos_token_id=0, eos_token_id=0,
        )  # fmt: skip
        return GPT2LMHeadModel(config)


def saved(folder, model) -> PromptEnhancer:
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return PromptEnhancer(source=folder)


@pytest.fixture(scope="module")
def go_on(tmp_path_factory):
    torch.set_num_threads(1)
    return load_text_model(saved(tmp_path_factory.mktemp("text"), tiny_gpt2()))


def test_the_same_prompt_and_seed_give_the_same_words(go_on):
    state = torch.get_rng_state()

    assert go_on("a cat", 7) == go_on("a cat", 7)
    assert go_on("a cat", 7) != go_on("a cat", 8)
    assert torch.equal(torch.get_rng_state(), state), "nobody else's draws are changed"


def test_it_begins_as_asked_and_adds_no_more_than_it_may(go_on):
    for seed in range(8):
        words = go_on("a cat, ", seed).removeprefix("a cat, ")
        assert 0 < len(words) <= MOST_WRITTEN


def test_what_it_adds_weighs_nothing_and_names_nothing(go_on):
    added = "".join(
        go_on("a (red:1.2) <moss>", seed).partition("<moss>, ")[2] for seed in range(10)
    )

    assert re.search(r"[()\[\]{}<>:\\|_\n]", added) is None
    assert re.search(r"\w", added)


@pytest.mark.parametrize("positions", [48, 256])
def test_a_prompt_longer_than_what_it_reads_is_kept_whole(tmp_path, positions):
    go_on = load_text_model(saved(tmp_path, tiny_gpt2(positions)))
    prompt = "a very long prompt " * MOST_READ

    assert go_on(prompt, 1).startswith(prompt.rstrip())


def test_numbers_that_are_none_are_an_error_and_no_words(tmp_path):
    model = tiny_gpt2()
    model.transformer.wte.weight.data.fill_(float("nan"))
    go_on = load_text_model(saved(tmp_path, model))

    with pytest.raises(ValueError, match="no number"):
        go_on("a cat", 1)


def test_without_its_files_it_is_not_looked_for_elsewhere(tmp_path):
    with pytest.raises(OSError, match="prompt_enhancer: source: no folder"):
        load_text_model(PromptEnhancer(source=tmp_path / "nowhere"))


def test_a_pickle_beside_the_weights_is_not_read(tmp_path):
    card = saved(tmp_path, tiny_gpt2())
    (tmp_path / "pytorch_model.bin").touch()

    with pytest.raises(ValueError, match="can run code"):
        load_text_model(card)


def test_all_jobs_have_one_thread_compute_for_them_and_it_has_a_small_team(tmp_path, monkeypatch):
    computed = []

    def note(*_):
        computed.append((threading.get_ident(), torch.get_num_threads()))
        return [33]

    monkeypatch.setattr(text, "_write", note)
    torch.set_num_threads(8)
    try:
        go_on = load_text_model(saved(tmp_path, tiny_gpt2()))
        with ThreadPoolExecutor(4) as jobs:
            assert len(list(jobs.map(lambda seed: go_on("a cat", seed), range(20)))) == 20
    finally:
        torch.set_num_threads(1)

    assert len(computed) == 20
    assert {team for _, team in computed} == {text.MOST_THREADS}
    assert len({thread for thread, _ in computed}) == 1
