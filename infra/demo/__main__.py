"""`make demo`: start the service, send it a real photo, check all that comes back, stop it."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from rich.console import Console

from infra.demo.receiver import Receiver
from infra.demo.story import DemoError, tell
from infra.local import Stack, StackError
from infra.local.child import ROOT

PHOTO = Path(__file__).with_name("astronaut.jpg")
STATE = ROOT / ".data" / "demo"
OUTPUT = ROOT / "demo-output"


def main() -> int:
    """0 only if everything held."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    begun = time.monotonic()

    def say(line: str) -> None:
        console.print(f"{time.monotonic() - begun:6.1f} s  {line}")

    # A folder of its own each time: what an earlier demo left behind proves nothing.
    STATE.mkdir(parents=True, exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="run-", dir=STATE))
    try:
        with console.status("running"):
            _run(data, say)
    except (DemoError, StackError, httpx.HTTPError) as error:
        say(f"FAILED: {error}")
    except KeyboardInterrupt:
        say("interrupted")
    else:
        shutil.rmtree(data)
        say(f"all held; the pictures are in {OUTPUT.relative_to(ROOT)}/")
        return 0
    say(f"the logs are in {data / 'logs'}")
    return 1


def _run(data: Path, say: Callable[[str], None]) -> None:
    env = {"IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1"}
    with Receiver(PHOTO) as receiver, Stack(data, port=0, env=env, say=say) as stack:
        say(f"the service is up: {stack.url}")
        try:
            tell(stack, receiver, output=OUTPUT, photo=PHOTO, say=say)
        except (DemoError, httpx.HTTPError):
            for name, child in stack.processes.items():
                say(f"the end of {name}'s log:\n{child.tail()}")
            raise


if __name__ == "__main__":
    sys.exit(main())
