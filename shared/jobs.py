"""Job, its parameters, its states and its result: the words everyone uses."""

import math
import secrets
import uuid
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import JobError
from shared.schedulers import Options

MAX_JOB_ID = 2**52
"""Ids stay exact in JSON numbers, whatever reads them."""
MAX_SEED = 2**32
Cover = Literal["sensitive_content_text", "blur", "pixelate", "black"]
"""What is handed out in place of an unsafe picture."""


Determinism = Literal["relaxed", "strict"]
"""Strict: the same bits whatever the load, or a failure; relaxed: the same but for rounding."""

Task = Literal["paint", "check"]
"""Check: is the init image unsafe? Nothing is made of it."""
Format = Literal["png", "jpeg", "webp"]
"""Of the outputs' files."""


class JobState(StrEnum):
    """queued -> running -> succeeded | failed; running -> queued when an attempt is lost.

    queued | running -> cancelled when its owner, or its deadline, says so.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to the job any more."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class Frozen(BaseModel):
    """A value: made once, never changed."""

    # Its errors would repeat prompts in the log.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class LoraUse(Frozen):
    """A LoRA of the allow-list, and how strongly it works: 1 is as it was trained."""

    name: str
    strength: float = 1.0


class Params(Frozen):
    """What to paint. Everything is decided: nothing here is still a default of somebody else's."""

    task: Task = "paint"
    model_id: str
    """Where `task` is check: the one whose checker is asked."""
    prompt: str
    """As it is run, enhancement included."""
    opening: str | None = None
    """What the text model goes on from; `prompt` is run where it fails. None: it is not asked."""
    negative_prompt: str = ""
    init_image: str | None = None
    """`https://...`, or the key of an uploaded object (`inputs/...`); None: from the text alone."""
    mask_image: str | None = None
    """Same forms; white is repainted."""
    width: int | None = None
    """Pixels; None: the init image's, rounded down to what the model takes, or the model's own."""
    height: int | None = None
    steps: int
    strength: float
    guidance_scale: float
    scheduler: str
    """The diffusers class that runs, whatever name was asked for."""
    scheduler_options: Options = {}
    """What the class is made with beside the model's own config."""
    clip_skip: int | None = None
    """Text encoder layers left out, counted as diffusers counts them: 1 ends before the last."""
    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[str, ...] = ()
    """Names of the allow-list, like the VAE's."""
    vae: str | None = None
    """None: the model's own."""
    seeds: tuple[int, ...]
    """One per sample."""
    base64: bool = False
    """Whether the outputs are base64 text objects."""
    output_format: Format = "png"
    quality: int | None = None
    """1 to 100; None: what is usual for the format. Means nothing to a PNG."""
    temp: bool = False
    """Whether the outputs last a day and no longer."""
    safety_checker: bool = False
    """Whether the pictures shall be checked; a deployment may check them all, or none."""
    safety_checker_type: Cover = "sensitive_content_text"
    determinism: Determinism = "relaxed"

    @property
    def samples(self) -> int:
        """How many images."""
        return len(self.seeds)

    @property
    def extension(self) -> str:
        """What the names of the outputs end with."""
        return "base64" if self.base64 else self.output_format

    @property
    def work(self) -> float:
        """What it costs a device, in megapixel steps; a side that is not known counts as 512."""
        share = 1.0 if self.init_image is None else self.strength  # a text runs the whole schedule
        return self.samples * self._pixels / 1e6 * max(1.0, self.steps * share)

    @property
    def size(self) -> str:
        """Of a picture: pixels as the nearest power of two, since few sizes can be told apart."""
        return str(round(math.log2(self._pixels)))

    @property
    def _pixels(self) -> int:
        return (self.width or 512) * (self.height or 512)


class Job(Frozen):
    """What was accepted: written once, read by every process."""

    id: int
    file_prefix: str
    """Names the first attempt's outputs: random, so that an output's link cannot be guessed."""
    tenant: str
    pool: str
    dialect: str
    """Which public API asked, so that links and bodies come back in kind."""
    params: Params
    priority: int = Field(default=5, ge=0, le=9)
    """0 overtakes 9, within the tenant."""
    webhook: str | None = None
    track_id: Any = None
    """The caller's own JSON value, echoed with its type."""
    echo: dict[str, Any] = {}
    """Request fields that the answer's `meta` repeats and nothing here acts on."""

    def attempt_prefix(self, generation: int) -> str:
        """The file prefix of an attempt: no attempt writes over another's objects."""
        return attempt_prefix(self.file_prefix, generation)


def attempt_prefix(file_prefix: str, generation: int) -> str:
    """The file prefix of an attempt of the job with this one."""
    if generation == 1:
        return file_prefix
    return str(uuid.uuid5(uuid.UUID(file_prefix), str(generation)))


class Result(Frozen):
    """What a finished job made. Keys, not links: links are made when they are read."""

    keys: tuple[str, ...]
    file_prefix: str
    width: int
    height: int
    scheduler: str
    """The one that really ran."""
    unsafe: tuple[bool, ...] = ()
    """By sample; empty where nothing checked the pictures."""
    seconds: float
    """From claim to stored images."""
    prompt: str | None = None
    """What was painted, where the text model made another of the job's."""
    degraded: tuple[str, ...] = ()
    """What had to be done otherwise than usual to get it done, over all samples."""


class Failure(Frozen):
    """Why a job failed, as the caller is told it."""

    code: str
    message: str

    @classmethod
    def of(cls, error: JobError) -> "Failure":
        """The failure that an error describes."""
        return cls(code=error.code, message=error.message)


class JobRecord(Frozen):
    """A job and where it stands, as the ledger holds it."""

    job: Job
    state: JobState
    generation: int
    attempts: int
    step: int = 0
    """Denoising steps done, over all samples."""
    steps: int = 0
    is_loading: bool = False
    """Whether it runs, and waits for its model to be in memory."""
    result: Result | None = None
    failure: Failure | None = None
    created: float
    """Seconds since the epoch, by the ledger's clock."""
    deleted: frozenset[str] = frozenset()
    """Keys of outputs that the owner had removed."""
    webhook_status: str = ""
    """delivered | given_up; empty while it is due, and without a webhook."""

    @property
    def outputs(self) -> list[str]:
        """Keys of the images that are there."""
        keys = self.result.keys if self.result else ()
        return [key for key in keys if key not in self.deleted]


def new_job_id() -> int:
    """A random id: reveals no volume and cannot be counted through."""
    return secrets.randbelow(MAX_JOB_ID - 1) + 1


def new_seed() -> int:
    """A random seed as the public API shows them: 32 bits, unsigned."""
    return secrets.randbelow(MAX_SEED)


def sample_seeds(seed: int, samples: int) -> tuple[int, ...]:
    """Each sample's own seed: seed, seed+1, ... within 32 bits."""
    return tuple((seed + index) % MAX_SEED for index in range(samples))
