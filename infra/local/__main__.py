"""`make up`: run the whole service on this machine until Ctrl-C."""

import argparse
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from infra.local.keeper import StackError
from infra.local.stack import PREFIX, Stack


def main() -> int:
    """Run the stack; 0 when it was asked to stop, 1 when it could not start."""
    asked = _arguments()
    console = Console(highlight=False, markup=False, soft_wrap=True)

    def say(line: str) -> None:
        console.print(f"{time.strftime('%H:%M:%S')}  {line}")

    # `kill` and a closed terminal end it as Ctrl-C does, in order. SIGINT itself is named because
    # a shell's `&` had it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    given = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    try:
        with ExitStack() as exits:
            with console.status("starting"):
                stack = exits.enter_context(Stack(asked.data, port=asked.port, env=given, say=say))
            print(f"ready: {stack.url}  key: {stack.key}", flush=True)
            stack.wait()
    except KeyboardInterrupt:
        say("stopped")
    except StackError as error:
        say(f"error: {error}")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=os.environ.get("PORT") or None,
        help="of the API; default: $PORT, else 8000 or, if that is taken, a free one",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("DATA") or ".data"),
        help="where jobs, images, keys and logs are kept; default: $DATA, else .data",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
