"""What only the front door needs to know."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from shared.config import Duration, Settings
from shared.jobs import Determinism, Format


class ApiSettings(Settings):
    """Settings, plus the door's own."""

    sync_wait: Duration = timedelta(seconds=20)
    """How long a request without a webhook waits for its result; proxies tend to cut at 30-60 s."""
    longest_wait: Duration = timedelta(seconds=55)
    """The most that `Prefer: wait=N` can ask for."""
    errors_as_200: bool = False
    """Answer errors under HTTP 200, for clients that read the body only."""
    cors_origins: str = ""
    """Origins whose pages may call the API, with commas between; `*`: any. Empty: none."""
    most_waiting: int = 100_000
    """Jobs of a pool that wait at a time; one more is refused with 503."""
    shed_after: Duration | None = None
    """New jobs are refused with 503 while one of their pool has waited for longer. None: never."""
    determinism: Determinism = "relaxed"
    """Of requests that do not say."""
    output_format: Format = "png"
    """Of requests that do not say."""
    styles_file: Path = Path(__file__).with_name("styles.yaml")
    """What `enhance_style` can name."""
    most_wrong_keys: int = Field(default=60, ge=0)
    """Of an address in a minute, at each process; a good key is never refused for them."""
    most_streams: Annotated[int, Field(ge=1)] = 100
    """Event streams that a tenant may have open at a time, at each process of the door."""
    max_body: int = 33 * 2**20
    """Bytes of a request: two images of 12 MiB as base64, and the rest."""
    body_time: Duration = timedelta(seconds=10)
    """How long a body may take, and what it takes at `body_rate` is added; images sent likewise."""
    body_rate: int = Field(default=64 * 2**10, gt=0)
    """Bytes a second; a body that comes more slowly, or stops for `body_time`, gets 408."""
    body_memory: int = Field(default=512 * 2**20, gt=0)
    """Bytes of all bodies that are being read or stored; beyond it 503.

    A quarter is for those whose key is in them and not read yet; 64 KiB of each do not count.
    """
