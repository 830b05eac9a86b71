"""A small language model that goes on with prompts, as it was trained on what others wrote.

It runs on the CPU, one call at a time, in a thread of its own: each thread that computes has a team
of others, and those of all jobs together would be more than a process may have.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from shared.checkpoints import pickles
from shared.models import PromptEnhancer
from worker.gpu.families import GoOn
from worker.gpu.families.device import globals_guarded
from worker.gpu.families.weights import check_files

MOST_READ = 128
"""Tokens of the opening, the last ones: what a call costs does not grow with the prompt."""
MOST_WRITTEN = 40
MOST_THREADS = 4
"""Of the team; more of them write such small models no faster."""
LIKELIEST = 40
"""Tokens that one is drawn from."""
NOT_WORDS = re.compile(r"[^\w\s,.'-]|_")
"""What could weigh other words, or name a LoRA or an embedding: that is for the caller to say."""


def load(card: PromptEnhancer) -> GoOn:
    """The model; raises `OSError` without its files, `ValueError` for files that can run code."""
    check_files(card)
    if found := pickles(card.source):
        raise ValueError(f"{card.model_id}: {found[0]} can run code; only .safetensors are read")
    with globals_guarded():
        tokenizer = AutoTokenizer.from_pretrained(card.source, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            card.source,
            dtype=getattr(torch, card.dtype),
            local_files_only=True,
            use_safetensors=True,
        ).eval()
    room = model.config.max_position_embeddings - MOST_WRITTEN

    def go_on(opening: str, seed: int) -> str:
        tokens = tokenizer(opening)["input_ids"][-min(MOST_READ, room) :]
        with torch.inference_mode():
            written = _write(model, torch.tensor([tokens]), seed)
        text = tokenizer.decode(written, skip_special_tokens=True).partition("\n")[0]
        words = " ".join(NOT_WORDS.sub("", text).split()).strip(" ,.-")
        if not words:
            raise ValueError("the text model had nothing to add")
        return f"{opening.rstrip(' ,')}, {words}"

    threads = min(torch.get_num_threads(), MOST_THREADS)
    alone = ThreadPoolExecutor(1, "text", initializer=torch.set_num_threads, initargs=(threads,))
    return lambda opening, seed: alone.submit(go_on, opening, seed).result()


def _write(model: torch.nn.Module, tokens: torch.Tensor, seed: int) -> list[int]:
    """New tokens, each drawn from the likeliest; raises `ValueError` for what is no number."""
    generator = torch.Generator().manual_seed(seed)
    past, written = None, []
    for _ in range(MOST_WRITTEN):
        answer = model(input_ids=tokens, past_key_values=past, use_cache=True)
        past = answer.past_key_values
        logits = answer.logits[0, -1].float()
        if not logits.isfinite().all():
            raise ValueError("the text model answered with something that is no number")
        likeliest = logits.topk(min(LIKELIEST, len(logits)))
        drawn = torch.multinomial(likeliest.values.softmax(0), 1, generator=generator)
        tokens = likeliest.indices[drawn][None]
        if int(tokens) == model.config.eos_token_id:
            break
        written.append(int(tokens))
    return written
