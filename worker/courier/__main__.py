"""`python -m worker.courier`: one courier; run as many as you like."""

import asyncio

from shared.log import set_up_logging
from worker.courier.app import run
from worker.courier.config import CourierSettings

if __name__ == "__main__":
    settings = CourierSettings.load()
    set_up_logging(settings.log_level)
    asyncio.run(run(settings))
