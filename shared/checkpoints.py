"""What is in a checkpoint, without torch: its parts, the files that are needed, their digests."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

INDEX = "model_index.json"
MANIFEST = "SHA256SUMS"
PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
"""Reading such a file runs what is in it."""
UNUSED = frozenset({"feature_extractor", "image_encoder", "safety_checker"})
"""Parts of checkpoints that are not loaded with the model."""
CONFIGS = frozenset({".json", ".model", ".txt"})
# With another dot in its name a file is a variant (fp16, non_ema), beside the one that is read.
WEIGHTS = re.compile(r"[A-Za-z0-9_]+(-\d{5}-of-\d{5})?\.safetensors")
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def parts(index: Mapping[str, Any]) -> dict[str, str]:
    """The parts that a `model_index.json` names, with their classes' names."""
    named = {name: value for name, value in index.items() if isinstance(value, list)}
    return {name: value[1] for name, value in named.items() if value[0]}


def loaded_parts(folder: Path) -> dict[str, str]:
    """The parts of a diffusers folder that a family loads; none without a `model_index.json`."""
    path = folder / INDEX
    found = parts(json.loads(path.read_text())) if path.is_file() else {}
    return {name: kind for name, kind in found.items() if name not in UNUSED}


def is_needed(path: str, known: Mapping[str, str]) -> bool:
    """Whether a file of a diffusers folder, by its path inside, is read for these parts."""
    part, _, name = path.rpartition("/")
    if part not in known:
        return path == INDEX
    return Path(name).suffix in CONFIGS or WEIGHTS.fullmatch(name) is not None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of one part that are read, in the order of their names."""
    return sorted(path for path in folder.glob("*.safetensors") if WEIGHTS.fullmatch(path.name))


def pickles(folder: Path) -> list[Path]:
    """What must not be read, down to the parts."""
    files = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(path for path in files if path.suffix in PICKLES)


def count_weights(path: Path) -> int:
    """How many numbers a safetensors file holds, by its header."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(e["shape"]) for name, e in header.items() if name != "__metadata__")


def sha256(path: Path) -> str:
    """The file's digest in hex; a file that stays as it is is read once in a process."""
    found = path.stat()
    return _sha256(path, found.st_size, found.st_mtime_ns)


@lru_cache(1024)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was fetched, as `sha256sum --check` reads it."""

    origin: str
    """`org/name@revision`, a comment in the first line."""
    digests: Mapping[str, str]
    """sha256 in hex of each file, by its path in the folder."""

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The folder's, or None."""
        path = folder / MANIFEST
        if not path.is_file():
            return None
        origin, *lines = path.read_text().splitlines()
        found = [LINE.fullmatch(line) for line in lines]
        return cls(origin.removeprefix("# "), {m[2]: m[1] for m in found if m})

    @property
    def text(self) -> str:
        """As it is in the file; the same files give the same text."""
        lines = [f"{digest}  {path}" for path, digest in sorted(self.digests.items())]
        return "\n".join([f"# {self.origin}", *lines, ""])

    @property
    def digest(self) -> str:
        """sha256 of the text: one line for `models.yaml` that pins every file."""
        return hashlib.sha256(self.text.encode()).hexdigest()
