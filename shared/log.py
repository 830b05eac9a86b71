"""One logging setup for every process: JSON lines, with the ids of what they are about."""

import json
import logging
from typing import Any

_PLAIN = frozenset(vars(logging.makeLogRecord({})))


class JsonLines(logging.Formatter):
    """time, level, logger, message, and whatever `extra=` gave."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, newlines escaped, so that no message can forge another."""
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up_logging(level: str) -> None:
    """Send every logger of the process to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Uvicorn has set up its own by now, which write lines of another kind.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # At INFO they write whole URLs, with the keys that are in query strings; Celery a line when a
    # message comes and one when its task ends, 0.2 ms of a core for what the runner says anyway.
    for name in ("httpx", "uvicorn.access", "celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
