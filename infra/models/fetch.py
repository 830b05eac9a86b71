"""Fetches a model from the Hugging Face hub: what is needed, checked, and all at once."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from shared.checkpoints import INDEX, MANIFEST, UNUSED, Manifest, is_needed, parts, sha256
from shared.models import ModelCard, PromptEnhancer

Fetched = ModelCard | PromptEnhancer
TEXT_MODEL = {"": "text model"}
"""The parts of a transformers repository: one, at its top."""
HUB_NOTES = ".cache"
"""What the hub's client keeps beside its downloads to go on with them."""


class FetchError(Exception):
    """Why a model was not fetched, in a sentence that names it."""


def fetch(card: Fetched) -> bool:
    """Fetch a model unless it is there; False when it was. Raises `FetchError`.

    Files stay in a draft folder until all of them are there and right, so a worker sees the whole
    model or nothing, and the next call fetches only what is missing.
    """
    if not card.hub:
        raise FetchError(f"{card.model_id}: has no `hub` in the models file, nothing to fetch")
    if is_fetched(card):
        return False
    if card.source.exists() and Manifest.read(card.source) is None:
        raise FetchError(f"{card.model_id}: {card.source} is not ours to replace; move it away")
    draft = card.source.with_name(f".{card.source.name}-{(card.revision or '')[:12]}")
    with _in_words(card), _alone_in(draft):
        files = _download(card, draft)
        manifest = Manifest(card.origin or "", {f.path: _checked(draft, f) for f in files})
        if card.sha256 not in (None, manifest.digest):
            raise FetchError(f"sha256: the models file pins {card.sha256}, got {manifest.digest}")
        shutil.rmtree(draft / HUB_NOTES, ignore_errors=True)
        (draft / MANIFEST).write_text(manifest.text)
        _publish(draft, card.source)
    return True


def is_fetched(card: Fetched) -> bool:
    """Whether the model's folder holds the revision that the models file names."""
    manifest = Manifest.read(card.source)
    return manifest is not None and manifest.origin == card.origin


def _download(card: Fetched, draft: Path) -> list[RepoFile]:
    where = {"repo_id": card.hub, "revision": card.revision}
    listing = HfApi().list_repo_tree(**where, recursive=True)
    files = {entry.path: entry for entry in listing if isinstance(entry, RepoFile)}
    if card.family == "text":
        known = TEXT_MODEL
    elif INDEX not in files:
        raise FetchError(f"{card.hub} has no {INDEX}: it is not a diffusers repository")
    else:
        index = Path(hf_hub_download(**where, filename=INDEX, local_dir=draft))
        known = parts(json.loads(index.read_text()))
    needed = [file for path, file in files.items() if is_needed(path, known)]
    for part in known.keys() - UNUSED:
        names = [Path(f.path).name for f in needed if f.path.rpartition("/")[0] == part]
        has_weights = any(name.endswith(".safetensors") for name in names)
        if not names or ("config.json" in names and not has_weights):
            raise FetchError(f"{card.hub} has no safetensors for the {part or known[part]}")
    _check_room(draft, needed)
    snapshot_download(**where, local_dir=draft, allow_patterns=[file.path for file in needed])
    return needed


def _check_room(draft: Path, needed: list[RepoFile]) -> None:
    there = sum(path.stat().st_size for path in draft.rglob("*") if path.is_file())
    missing = sum(file.size for file in needed) - there
    free = shutil.disk_usage(draft).free
    if missing > free:
        raise FetchError(f"needs {missing:,} bytes more, {draft.parent} has {free:,}")


def _checked(draft: Path, file: RepoFile) -> str:
    """The file's sha256; one that is not what the hub lists is deleted, to be fetched again."""
    path = draft / file.path
    if file.lfs is not None:
        right = sha256(path) == file.lfs.sha256
    else:
        data = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        right = blob.hexdigest() == file.blob_id
    if not right:
        path.unlink()
        raise FetchError(f"{file.path} is damaged; fetch again")
    return sha256(path)


def _publish(draft: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _alone_in(draft: Path) -> Iterator[None]:
    draft.mkdir(parents=True, exist_ok=True)
    held = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise FetchError("another process is fetching it") from None
    finally:
        os.close(held)


@contextmanager
def _in_words(card: Fetched) -> Iterator[None]:
    try:
        yield
    except (FetchError, HTTPError, OSError, EntryNotFoundError) as error:
        raise FetchError(f"{card.model_id}: {_reason(card, error)}") from error


def _reason(card: Fetched, error: Exception) -> str:
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    known = {
        FetchError: str(error),
        RevisionNotFoundError: f"revision: {card.hub} has no commit {card.revision}",
        GatedRepoError: f"hub: {card.hub} wants its terms accepted; then set HF_TOKEN",
        RepositoryNotFoundError: f"hub: no repository {card.hub}, or one that needs HF_TOKEN",
        OfflineModeIsEnabled: "HF_HUB_OFFLINE is set",
    }
    first = str(error).strip().partition("\n")[0] or type(error).__name__
    other = "the disk is full" if full else f"{first}; complete files are kept, fetch again"
    return next((words for kind, words in known.items() if isinstance(error, kind)), other)
