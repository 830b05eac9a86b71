"""Remove the objects that no job needs, or only say which; settings as a courier's."""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence

from shared.ledger.connect import connect_for_requests
from shared.object_store import ObjectStore
from worker.courier.config import CourierSettings
from worker.courier.sweep import Sweep


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or an error that says why not."""
    parser = argparse.ArgumentParser(prog="python -m infra.sweep", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="list them, remove nothing")
    dry_run = parser.parse_args(arguments).dry_run
    found = asyncio.run(_sweep(CourierSettings.load(), dry_run=dry_run))
    counts = ", ".join(f"{count} {why}" for why, count in sorted(found.items())) or "nothing"
    print(f"{'would remove' if dry_run else 'removed'}: {counts}")
    return 0


async def _sweep(settings: CourierSettings, *, dry_run: bool) -> Counter[str]:
    found = Counter[str]()
    async with connect_for_requests(settings.redis_url) as redis:
        sweep = Sweep(redis, ObjectStore.connect(settings), settings)
        async for page in sweep.pages():
            for key in page.keys if dry_run else ():
                print(page.why, key)
            if not dry_run:
                await sweep.remove(page)
            found[page.why] += len(page.keys)
    return found


if __name__ == "__main__":
    sys.exit(main())
