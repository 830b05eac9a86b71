"""API key -> tenant."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from api.errors import InvalidKey, TooManyRequests
from shared.keyring import Keyring
from shared.tenants import Tenant, Tenants

MINUTE = 60


class Failures:
    """Wrong keys of this minute, by the address that they came from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._minute = 0
        self._counts: Counter[str] = Counter()

    def refusal(self, address: str, *, given: bool) -> InvalidKey | TooManyRequests:
        """What to answer to one more."""
        minute, second = divmod(int(time.time()), MINUTE)
        if minute != self._minute:
            self._minute, self._counts = minute, Counter()
        self._counts[address] += 1
        if self._counts[address] > self._most:
            return TooManyRequests(self._most, "minute", retry_after=MINUTE - second)
        return InvalidKey(given=given)


async def authenticate(keys: Iterable[Any], file: Tenants, keyring: Keyring) -> Tenant | None:
    """Whose request it is, by the keys that came with it; two that differ are nobody's."""
    given = {key if isinstance(key, str) else None for key in keys if key not in (None, "")}
    if len(given) != 1 or (key := given.pop()) is None:
        return None
    return file.of_key(key) or await keyring.of_key(key, file)
