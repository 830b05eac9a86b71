"""`python -m worker.gpu`: one worker for one device."""

import os

from shared.log import set_up_logging
from worker.gpu.app import create_worker
from worker.gpu.config import GpuSettings

if __name__ == "__main__":
    # Read when the libraries are imported, which is later: what they miss, they do not fetch.
    os.environ["HF_HUB_OFFLINE"] = "1"  # noqa: TID251 (theirs, not ours)
    settings = GpuSettings.load()
    set_up_logging(settings.log_level)
    create_worker(settings).run()
