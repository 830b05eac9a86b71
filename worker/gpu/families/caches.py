"""Cache: what is kept so that it is not computed twice, counted by name."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from worker.gpu.metrics import CACHE_HITS, CACHE_MISSES

V = TypeVar("V")

_caches: "weakref.WeakSet[Cache[Any]]" = weakref.WeakSet()


class Cache(Generic[V]):
    """The values last asked for; the others go when all together weigh too much. One thread's."""

    def __init__(self, name: str, most: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        """`most` is in the units of `weigh`; without one, a number of values."""
        self._hits, self._misses = CACHE_HITS.labels(name), CACHE_MISSES.labels(name)
        self._most = most
        self._weigh = weigh
        self._weight = 0
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._to_forget = False
        _caches.add(self)

    def get(self, key: Hashable) -> V | None:
        """The value, if it is still there."""
        self._forget_if_told()
        if key not in self._values:
            self._misses.inc()
            return None
        self._hits.inc()
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: Hashable, value: V) -> None:
        """Keep a value that was not there."""
        self._forget_if_told()
        self._values[key] = value
        self._weight += self._weigh(value)
        while self._weight > self._most:
            _, oldest = self._values.popitem(last=False)
            self._weight -= self._weigh(oldest)

    def forget(self) -> None:
        """Hand out nothing that is kept now; its own thread lets go of it at the next call."""
        self._to_forget = True

    def _forget_if_told(self) -> None:
        if self._to_forget:
            self._to_forget = False
            self._values.clear()
            self._weight = 0


def forget_all() -> None:
    """As `forget`, for every cache of the process."""
    for cache in list(_caches):
        cache.forget()
