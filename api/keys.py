"""`python -m api.keys`: make, list and revoke API keys, straight in the deployment's Redis."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import ValidationError
from redis.exceptions import RedisError

from api.config import ApiSettings
from shared.api_keys import KeyRecord, NewKey
from shared.keyring import Keyring
from shared.ledger.connect import connect_for_requests


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; 0 when it was done."""
    try:
        return asyncio.run(_run(_arguments(arguments)))
    except RedisError as error:
        print(f"error: {error}; IMG2IMG_REDIS_URL says which Redis", file=sys.stderr)
        return 1


async def _run(asked: argparse.Namespace) -> int:
    settings = ApiSettings.load()
    async with connect_for_requests(settings.redis_url) as redis:
        keyring = Keyring(redis, settings.key_pepper)
        match asked.command:
            case "create":
                return await _create(keyring, asked)
            case "list":
                for id_, record in (await keyring.keys(asked.tenant)).items():
                    print(_line(id_, record))
            case "revoke":
                if await keyring.revoke(asked.id) is None:
                    print(f"error: no key has the id {asked.id}", file=sys.stderr)
                    return 1
    return 0


async def _create(keyring: Keyring, asked: argparse.Namespace) -> int:
    scopes = [scope.strip() for scope in asked.scopes.split(",")]
    try:
        wanted = NewKey(tenant=asked.tenant, name=asked.name, scopes=scopes, expires=asked.expires)
    except ValidationError as error:
        for wrong in error.errors():
            print(f"error: --{wrong['loc'][0]}: {wrong['msg']}", file=sys.stderr)
        return 2
    key, id_, record = await keyring.create(wanted)
    print(f"{_line(id_, record)}\nNobody can read it again:", file=sys.stderr)
    print(key)
    return 0


def _line(id_: str, record: KeyRecord) -> str:
    works = record.works_at(time.time())
    state = "works" if works else "expired" if record.disabled is None else "revoked"
    until = "for ever" if record.expires is None else f"until {_day(record.expires)}"
    scopes = ",".join(sorted(record.scopes))
    fields = (id_, record.tenant, f"...{record.last4}", scopes, state, until, record.name)
    return "  ".join(fields).rstrip()


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m api.keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--tenant", required=True, help="who owns the jobs; new or not")
    create.add_argument("--name", default="", help="what its owner calls it")
    create.add_argument("--scopes", default="submit,read", help="of submit, read, admin")
    create.add_argument("--expires", help="after 90d, 12h or 30m; default: never")
    listing = commands.add_parser("list", help="what is kept of the keys")
    listing.add_argument("--tenant", help="only this one's")
    commands.add_parser("revoke", help="end a key").add_argument("id", help="as `list` shows it")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
