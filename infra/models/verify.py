"""Compares the weights on this disk with what was fetched and with what the models file pins."""

from shared.checkpoints import Manifest, pickles, sha256
from shared.models import ModelCard, PromptEnhancer


def problems(card: ModelCard | PromptEnhancer) -> list[str]:
    """What is wrong with a model's files, a sentence each."""
    if not card.source.exists():
        return [f"{card.source} is missing"]
    if card.is_single_file:
        found = sha256(card.source)
        wrong = card.sha256 not in (None, found)
        return [f"sha256: the models file pins {card.sha256}, it is {found}"] if wrong else []
    return _folder_problems(card, Manifest.read(card.source))


def is_checkable(card: ModelCard | PromptEnhancer) -> bool:
    """Whether there is anything to compare the files with."""
    return card.sha256 is not None or card.hub is not None


def _folder_problems(card: ModelCard | PromptEnhancer, manifest: Manifest | None) -> list[str]:
    found = [f"{path.relative_to(card.source)} is a pickle" for path in pickles(card.source)]
    if manifest is None:
        return [*found, "it has no SHA256SUMS"] if is_checkable(card) else found
    if manifest.origin != card.origin:
        found.append(f"it is {manifest.origin}, the models file says {card.origin}")
    if card.sha256 not in (None, manifest.digest):
        found.append(f"sha256: the models file pins {card.sha256}, it is {manifest.digest}")
    for name, digest in manifest.digests.items():
        path = card.source / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif sha256(path) != digest:
            found.append(f"{name} is not what was fetched")
    return found
