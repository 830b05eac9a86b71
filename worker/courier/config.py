"""What only a courier needs to know."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field

from shared.config import Duration, Settings


class CourierSettings(Settings):
    """Settings, plus the courier's own."""

    deliveries: Annotated[int, Field(ge=1)] = 64
    """Places: webhooks under way in their first second; slower ones are counted apart (gate.py)."""
    deliveries_per_host: Annotated[int, Field(ge=1)] = 8
    """Under way to one host and port, slow ones too."""
    deliveries_per_tenant: Annotated[int, Field(ge=1)] = 32
    """The same of a tenant, who may name any number of hosts."""
    poll: Duration = timedelta(milliseconds=500)
    """How soon a webhook is sent that became due without an event, as a retry does."""
    webhook_timeout: Duration = timedelta(seconds=15)
    webhook_connect_timeout: Duration = timedelta(seconds=3)
    sweep: Duration = timedelta(hours=1)
    """How often one of the couriers removes the objects that no job needs; 0: never."""
    sweep_after: Duration = timedelta(hours=1)
    """Since a job's end, until what its lost attempts stored is removed; longer than twice a
    worker's `job_timeout`: an attempt may wait for so long to be alone, and then work."""
    drain: Duration = timedelta(seconds=10)
    """After SIGTERM, how long deliveries under way may still end before they are put back."""
    courier_metrics_port: int = 0
    """Serves Prometheus metrics when not 0."""
    metrics_host: str = "0.0.0.0"  # noqa: S104 - in a container, where no other address is reached
    ready_file: Path | None = None
    """Written when it is at work."""
