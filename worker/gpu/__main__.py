"""`python -m worker.gpu`: one worker for one device."""

from shared.log import set_up_logging
from worker.gpu.app import create_worker
from worker.gpu.config import GpuSettings

if __name__ == "__main__":
    settings = GpuSettings.load()
    set_up_logging(settings.log_level)
    create_worker(settings).run()
