"""What operators order a worker to do while it runs."""

import logging
import os
import signal
import threading
from datetime import timedelta

from shared.ledger.orders import Inbox, Order
from worker.gpu.families import forget_caches
from worker.gpu.pipelines import WarmPipelines

log = logging.getLogger(__name__)

ROOM_WITHIN = timedelta(minutes=10)
"""How long a load may wait for others to leave the memory."""


def obey(order: Order, inbox: Inbox, pipelines: WarmPipelines) -> None:
    """Do it, or begin to: the caller renews leases meanwhile. Other pools' models are ignored."""
    log.info("ordered", extra={"what": order.what, "model_id": order.model_id})
    match order.what:
        case "drain":
            inbox.answer(order, "draining")
            os.kill(os.getpid(), signal.SIGTERM)
        case "forget":
            forget_caches()
            inbox.answer(order, "forgotten")
        case "load" if pipelines.serves(order.model_id):
            inbox.answer(order, "loading")
            threading.Thread(
                target=_load, args=(order, inbox, pipelines), name="load", daemon=True
            ).start()


def _load(order: Order, inbox: Inbox, pipelines: WarmPipelines) -> None:
    try:
        pipelines.load(order.model_id, timeout=ROOM_WITHIN.total_seconds())
    except Exception:
        # Also a lost device: it shows at the next job, whose engine ends the process.
        log.exception("model not loaded", extra={"model_id": order.model_id})
        inbox.answer(order, "not loaded")
    else:
        inbox.answer(order, "loaded")
