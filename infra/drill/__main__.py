"""Kill a worker and a courier of a running service while it works, and count what is missed."""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from infra.demo.mailbox import Mailbox
from infra.demo.receiver import Receiver
from infra.drill.findings import Findings, Kill, findings
from infra.drill.local import LocalStack
from infra.drill.stream import Customer, DrillError, all_told
from infra.local.child import ROOT

PHOTO = ROOT / "infra" / "demo" / "astronaut.jpg"
LINGER = 2.0
"""Seconds in which what was delivered twice may still come."""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if nothing was lost, failed or doubled; 1 if it was, 2 if the drill could not be held."""
    asked = _arguments(arguments)
    try:
        found = asyncio.run(_drill(asked))
    except DrillError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(found.lines()))
    return 0 if found.held else 1


async def _drill(asked: argparse.Namespace) -> Findings:
    url, key, killers = _target(asked)
    host, _, port = asked.listen.rpartition(":")
    receiver = Receiver(PHOTO, listen=(host, int(port)), url=asked.receiver_url)
    kills: list[Kill] = []

    async def kill_in_turn() -> None:
        for what, kill in killers.items():
            await asyncio.sleep(asked.jobs / asked.rate / (1 + len(killers)))
            await asyncio.to_thread(kill)
            kills.append(Kill(what, time.monotonic()))

    with receiver:
        mailbox = Mailbox(receiver)
        async with httpx.AsyncClient(base_url=url, timeout=30) as http, mailbox.open():
            customer = Customer(http, key, PHOTO, receiver.webhook_url)
            sent, _ = await asyncio.gather(
                customer.send(asked.jobs, rate=asked.rate), kill_in_turn()
            )
            await all_told(mailbox, sent, seconds=asked.patience)
            await asyncio.sleep(LINGER)
            results = {job.job_id: (await customer.result(job.job_id))["status"] for job in sent}
            return findings(sent, mailbox.deliveries, results, kills)


def _target(asked: argparse.Namespace) -> tuple[str, str, dict[str, Callable[[], None]]]:
    if asked.url is None:
        stack = LocalStack(asked.data)
        local = {"worker": stack.kill_worker, "courier": stack.kill_courier}
        return stack.url, stack.key, local
    commands = {"worker": asked.kill_worker, "courier": asked.kill_courier}
    given = {what: _shell(command) for what, command in commands.items() if command}
    if not (given and asked.key):
        raise DrillError("--url needs --key, and --kill-worker or --kill-courier or both")
    return asked.url, asked.key, given


def _shell(command: str) -> Callable[[], None]:
    def run() -> None:
        # The operator's own command.
        done = subprocess.run(command, shell=True, check=False)  # noqa: S602  # nosec B602
        if done.returncode:
            raise DrillError(f"`{command}` ended with {done.returncode}")

    return run


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.drill", description=__doc__)
    data = Path(os.environ.get("DATA") or ".data")
    parser.add_argument("--data", type=Path, default=data, help="of a `make up` that runs here")
    parser.add_argument("--url", help="of another service; then the options below say how to kill")
    parser.add_argument("--key", default=os.environ.get("KEY"), help="default: $KEY")
    parser.add_argument(
        "--kill-worker", help="shell command, `docker compose kill -s KILL worker-gpu0`"
    )
    parser.add_argument("--kill-courier", help="shell command")
    parser.add_argument("--listen", default="127.0.0.1:0", help="HOST:PORT of our receiver")
    parser.add_argument("--receiver-url", help="how the service reaches it; default: as we do")
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--rate", type=float, default=3.0, help="jobs a second")
    parser.add_argument(
        "--patience", type=float, default=180.0, help="seconds for the last webhook"
    )
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
