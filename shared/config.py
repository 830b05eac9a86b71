"""The settings every process reads, from `IMG2IMG_*` variables and nowhere else."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.images import MAX_BYTES

DAY = timedelta(days=1)
TEMPORARY = DAY
"""How long a temporary output can be read."""
NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


def _seconds(given: Any) -> Any:
    return float(given) if isinstance(given, str) and NUMBER.fullmatch(given) else given


Duration = Annotated[timedelta, BeforeValidator(_seconds)]
"""Seconds (`10`, `0.5`), or ISO 8601 (`PT10S`)."""


class Settings(BaseSettings):
    """Where the outside systems are, and how long things live."""

    model_config = SettingsConfigDict(env_prefix="IMG2IMG_", frozen=True, extra="ignore")

    redis_url: str = "redis://127.0.0.1:6379/0"

    s3_endpoint: str | None = None
    """None: Amazon's own, by region."""
    s3_region: str = "us-east-1"
    s3_bucket: str = "img2img"
    s3_access_key: SecretStr | None = None
    """None: boto3's usual chain (instance role, profile)."""
    s3_secret_key: SecretStr | None = None

    public_url: str = "http://127.0.0.1:8000"
    """The base of every link we hand out, to results and to proxied outputs."""
    output_links: Literal["proxied", "presigned", "public"] = "proxied"
    output_base_url: str | None = None
    """With `output_links=public`: the CDN or bucket address that serves the bucket's keys."""
    link_lifetime: Duration = timedelta(days=1)
    """How long a presigned link works."""

    models_file: Path = Path("infra/models.yaml")
    models_dir: Path = Path("models")
    """Relative `source` paths in the models file start here."""
    default_model: str = "demo"

    api_keys: str = ""
    """`tenant=key` pairs with commas between, or the path of a JSON file (shared/tenants.py)."""
    key_pepper: SecretStr = SecretStr("")
    """What keys made by the service are hashed with; another one ends them all."""
    webhook_secret: SecretStr = SecretStr("")
    """`whsec_...`; signs the webhooks of tenants that have no secret of their own. Two with a space
    between sign both, while one replaces the other."""

    outbound_allow: str = ""
    """Hosts or CIDRs, with commas between, that skip the egress guard. Empty in production."""
    outbound_http: bool = True
    """Whether plain http is allowed to client-given addresses."""

    egress_proxy: SecretStr | None = None
    """`http://[user:password@]host:port` of a proxy that goes to client-given addresses for us, and
    decides which: then nothing here looks at addresses and ports. None: we decide, and go."""

    image_bytes: Annotated[ByteSize, Field(ge=1)] = ByteSize(MAX_BYTES)
    """Of one image, however it comes. Above 12 MiB the API's `max_body` has to grow too."""

    keep_jobs: Annotated[Duration, Field(ge=DAY)] = timedelta(days=7)
    """At least a day: a webhook may be tried for most of one."""
    keep_outputs: Annotated[Duration | None, Field(ge=DAY)] = None
    """After it the bucket removes images, in whole days. None: they stay."""
    lease: Duration = timedelta(seconds=15)
    max_attempts: int = 3
    start_within: Duration = timedelta(0)
    """A job that no worker has taken for so long fails; 0: it waits."""
    publish_ahead: int = 16
    """Messages of a pool that wait in Celery's queue; other jobs wait in their tenant's lane."""

    log_level: str = "INFO"

    def keep_record(self, *, temp: bool) -> timedelta:
        """How long a finished job can be fetched: no longer than its outputs last."""
        outputs = TEMPORARY if temp else self.keep_outputs
        return min(self.keep_jobs, outputs or self.keep_jobs)

    @classmethod
    def load(cls) -> Self:
        """The settings of this process; ends it with a sentence for each that is wrong."""
        try:
            return cls()
        except ValidationError as error:
            wrong = [f"IMG2IMG_{e['loc'][0]}".upper() + f": {e['msg']}" for e in error.errors()]
            raise SystemExit("\n".join(wrong)) from None
