"""What only a courier needs to know."""

from datetime import timedelta
from pathlib import Path

from shared.config import Duration, Settings


class CourierSettings(Settings):
    """Settings, plus the courier's own."""

    deliveries: int = 64
    """Webhooks under way at a time."""
    poll: Duration = timedelta(milliseconds=500)
    """How soon a webhook is sent that became due without an event, as a retry does."""
    webhook_timeout: Duration = timedelta(seconds=15)
    webhook_connect_timeout: Duration = timedelta(seconds=3)
    ready_file: Path | None = None
    """Written when it is at work."""
