"""One stack per data folder."""

import fcntl
import os
from pathlib import Path
from typing import IO

from infra.local.keeper import StackError


def claim(data: Path) -> IO[str]:
    """Hold the folder until the file is closed or the process ends, however it ends."""
    lock = (data / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StackError(f"another stack (process {holder}) runs on {data}") from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
