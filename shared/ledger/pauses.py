"""Pools that an operator holds back: what is on its way goes on, the rest waits in its lanes."""

from collections.abc import Collection

from redis.asyncio import Redis

from shared.config import Settings
from shared.ledger.scripts import script_settings, source


class Pauses:
    """The operator's switch for each pool; a pause lasts until it is ended."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._settings = script_settings(settings)
        self._pause = redis.register_script(source("pause"))

    async def pause(self, pools: Collection[str]) -> None:
        """Publish no more jobs of these pools; they are accepted and wait."""
        await self._pause(args=[self._settings, 1, *pools])

    async def resume(self, pools: Collection[str]) -> None:
        """Publish what waited, at once."""
        await self._pause(args=[self._settings, 0, *pools])
