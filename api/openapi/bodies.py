"""The public API's answers, as types: for the documentation, nothing is checked at run time."""

from typing import (
    Literal,
    NotRequired,  # pydantic asks for this one before 3.12
)

from typing_extensions import TypedDict


class Meta(TypedDict):
    """The parameters that were really used."""

    H: int | None
    W: int | None
    algorithm_type: str | None
    base64: Literal["yes", "no"]
    clip_skip: int | None
    degraded: list[str]
    determinism: Literal["relaxed", "strict"]
    embeddings: str | None
    file_prefix: str
    guidance_scale: float
    init_image: str | None
    lora: str | None
    lora_strength: float | str
    mask_image: str | None
    model: str
    model_id: str
    n_samples: int
    negative_prompt: str
    nsfw_content_detected: list[bool] | None
    outdir: str
    output_format: Literal["png", "jpeg", "webp"]
    prompt: str
    quality: int | None
    safety_checker: Literal["yes", "no", "none"]
    safety_checker_type: str | None
    safetychecker: Literal["yes", "no", "none"]
    scheduler: str
    seed: int
    seeds: list[int]
    steps: int
    strength: float
    temp: Literal["yes", "no"]
    use_karras_sigmas: Literal["yes", "no"] | None
    vae: str | None
    enable_attention_slicing: NotRequired[str]
    enhance_style: NotRequired[str | None]
    enhance_prompt: NotRequired[Literal["yes", "no"]]
    revision: NotRequired[str]


class Progress(TypedDict):
    """Denoising steps done and in all, over all samples."""

    step: int
    steps: int


class Success(TypedDict):
    """The images are there."""

    status: Literal["success"]
    id: int
    request_id: str
    generationTime: float
    output: list[str]
    proxy_links: list[str]
    nsfw_content_detected: bool
    webhook_status: str
    meta: Meta


class Processing(TypedDict):
    """The job waits or runs; ask again at `fetch_result`."""

    status: Literal["processing"]
    id: int
    request_id: str
    eta: float
    tip: str
    message: str
    messege: str
    fetch_result: str
    output: list[str]
    future_links: list[str]
    webhook_status: str
    meta: Meta
    progress: NotRequired[Progress]


class Failed(TypedDict):
    """The job ended without images, or there is none of that id."""

    status: Literal["failed"]
    id: int | Literal[""]
    message: str
    messege: str
    output: list[str]
    request_id: NotRequired[str]
    tip: NotRequired[str]


class Error(TypedDict):
    """The request was refused; where there are fields, sentences for each of them."""

    status: Literal["error"]
    message: str | dict[str, list[str]]
    messege: str | dict[str, list[str]]
    tip: NotRequired[str]
    retry_after: NotRequired[int]


class Load(TypedDict):
    """What waits."""

    status: Literal["ok"]
    queue_num: int
    queue_time: float


class Count(TypedDict):
    """The caller's jobs that wait or run."""

    status: Literal["success"]
    processing_count: int
    message: str


class Checked(TypedDict):
    """What the safety checker says of an image, and the address that it came from."""

    status: Literal["success"]
    id: int
    request_id: str
    images: str | None
    has_nsfw_concept: list[bool]


class Done(TypedDict):
    """Done; how many jobs were cancelled, how many workers end."""

    status: Literal["success"]
    message: str
    messege: str
    cancelled: NotRequired[int]
    workers: NotRequired[int]
    silent: NotRequired[list[str]]


class Deleted(TypedDict):
    """Done."""

    status: Literal["success"]
    message: str
    messege: str


class Uploaded(TypedDict):
    """Where the image is."""

    status: Literal["success"]
    message: str
    messege: str
    id: int
    request_id: int
    link: str
    output: list[str]


class Model(TypedDict):
    """A model and what a request may ask of it."""

    model_id: str
    family: str
    licence: str
    min_side: int
    max_side: int
    multiple: int
    default_side: int
    max_steps: int
    max_samples: int


class Models(TypedDict):
    """Every model."""

    status: Literal["success"]
    models: list[Model]


class VerifiedModel(Model):
    """It can be asked for."""

    status: Literal["success"]
    message: str


class Schedulers(TypedDict):
    """Those that run."""

    status: Literal["success"]
    schedulers: list[str]


class PoolLoad(TypedDict):
    """What waits for a kind of worker; no seconds: nothing was measured."""

    queue_num: int
    slots: int
    seconds_per_job: float | None
    paused: bool
    loaded: list[str]


class System(TypedDict):
    """Every pool."""

    status: Literal["success"]
    message: str
    pools: dict[str, PoolLoad]


class Health(TypedDict):
    """The process answers."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """Which of the systems behind the door answer."""

    status: Literal["ok", "unavailable"]
    redis: bool
    object_store: bool
