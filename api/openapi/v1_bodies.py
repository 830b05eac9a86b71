"""The answers of `/v1`, as types: for the documentation, nothing is checked at run time."""

from typing import Literal

from pydantic import JsonValue
from typing_extensions import TypedDict

from api.openapi.bodies import Meta, Progress
from api.v1 import Reason


class ErrorDetails(TypedDict):
    """What went wrong; `param` names the field that it is about."""

    code: str
    param: str | None
    message: str
    request_id: str
    docs_url: str


class V1Error(TypedDict):
    """Every refusal of /v1."""

    error: ErrorDetails


class Image(TypedDict):
    """One picture; `unsafe` None: nothing checked it."""

    url: str
    seed: int
    unsafe: bool | None


class QueuePlace(TypedDict):
    """Why a job waits, and the seconds until it is done; None: nobody knows."""

    position: int
    reason: Reason
    eta: float | None


class FailureBody(TypedDict):
    """Why a job failed."""

    code: str
    message: str


class JobUrls(TypedDict):
    """Where to ask."""

    self: str
    events: str


class JobBody(TypedDict):
    """A job as it stands."""

    id: int
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    created: str
    model_id: str
    track_id: JsonValue
    queue: QueuePlace | None
    progress: Progress | None
    images: list[Image]
    seconds: float | None
    error: FailureBody | None
    parameters: Meta
    warnings: list[str]
    urls: JobUrls


class JobList(TypedDict):
    """The newest first; with `next_cursor` there are more."""

    jobs: list[JobBody]
    next_cursor: int | None


class Cost(TypedDict):
    """What a job costs a device."""

    megapixel_steps: float


class DryRun(TypedDict):
    """What a request would cost."""

    dry_run: Literal[True]
    cost: Cost
    pool: str
    has_worker: bool
    eta: float | None
    warnings: list[str]


class V1Limits(TypedDict):
    """What a request may ask of a model; sides in pixels."""

    min_side: int
    max_side: int
    multiple: int
    default_side: int
    max_steps: int
    max_samples: int


class V1Model(TypedDict):
    """A model, and whether a worker serves it now."""

    model_id: str
    family: str
    licence: str
    limits: V1Limits
    is_default: bool
    has_worker: bool
    is_paused: bool


class V1Models(TypedDict):
    """Every model."""

    models: list[V1Model]


class Put(TypedDict):
    """The request that uploads."""

    url: str
    headers: dict[str, str]
    expires_in: int


class Room(TypedDict):
    """Room for an upload."""

    url: str
    put: Put


class Attempt(TypedDict):
    """One delivery; no status: nobody answered."""

    at: float
    seconds: float
    status: int | None
    reason: str


class WebhookLog(TypedDict):
    """What came of a job's webhook."""

    job: int
    url: str | None
    status: Literal["pending", "delivered", "given_up"] | None
    attempts: list[Attempt]


class TenantTerms(TypedDict):
    """What a tenant may do; None: no limit, or as the deployment does it."""

    tenant: str
    in_file: bool
    weight: float
    errors_as_200: bool | None
    most_live: int
    most_running: int | None
    most_requests: float | None


class Tenants(TypedDict):
    """Every tenant that has terms."""

    tenants: list[TenantTerms]


class Key(TypedDict):
    """What is kept of a key; the key itself is not."""

    id: str
    tenant: str
    name: str
    scopes: list[Literal["admin", "read", "submit"]]
    created: str
    expires: str | None
    disabled: str | None
    last4: str


class FreshKey(Key):
    """A new key, shown this once."""

    key: str


class Keys(TypedDict):
    """Every key that was made here."""

    keys: list[Key]


class Paused(TypedDict):
    """Pools that hand out nothing more."""

    paused: list[str]


class Resumed(TypedDict):
    """Pools that hand out jobs again."""

    resumed: list[str]


class Meaning(TypedDict):
    """What an error's code means."""

    code: str
    status: int
    meaning: str
