"""`python -m infra.simulated`: one worker; settings as a GPU worker's, and those in `device`."""

from shared.log import set_up_logging
from worker.gpu import families
from worker.gpu.app import create_worker
from worker.gpu.config import GpuSettings

if __name__ == "__main__":
    settings = GpuSettings.load()
    set_up_logging(settings.log_level)
    HERE = "infra.simulated.device"
    families.FAMILIES |= dict.fromkeys(families.FAMILIES, HERE)
    families.DEVICE = families.MEMORY = HERE
    create_worker(settings).run()
