"""What is kept so that it is not computed twice."""

from worker.gpu.families.caches import Cache, forget_all
from worker.gpu.metrics import CACHE_HITS, CACHE_MISSES


def count_of(counter, name):
    return counter.labels(name)._value.get()  # noqa: SLF001 (there is no public way)


def test_a_value_is_found_again():
    cache = Cache("one", 2)

    cache.put("a", 1)

    assert (cache.get("a"), cache.get("b")) == (1, None)


def test_the_value_not_asked_for_the_longest_goes_first():
    cache = Cache("two", 2)
    cache.put("a", 1)
    cache.put("b", 2)
    cache.get("a")

    cache.put("c", 3)

    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_values_go_until_the_rest_weighs_little_enough():
    cache = Cache("three", 10, len)
    for key, weight in (("a", 4), ("b", 4), ("c", 8)):
        cache.put(key, "x" * weight)

    assert [key for key in "abc" if cache.get(key)] == ["c"]


def test_a_value_too_heavy_for_the_cache_is_not_kept_and_leaves_room_for_others():
    cache = Cache("four", 3, len)
    cache.put("a", "xxxx")
    cache.put("b", "xxx")

    assert [key for key in "ab" if cache.get(key)] == ["b"]


def test_hits_and_misses_are_counted_under_the_name():
    cache = Cache("counted", 1)
    cache.get("a")
    cache.put("a", 1)
    cache.get("a")
    cache.get("a")

    assert (count_of(CACHE_HITS, "counted"), count_of(CACHE_MISSES, "counted")) == (2, 1)


def test_what_is_to_be_forgotten_is_not_handed_out_any_more():
    cache, weighed = Cache("prompt", 10), Cache("image", 10, len)
    cache.put("a", 1)
    weighed.put("b", "x" * 10)

    forget_all()

    assert (cache.get("a"), weighed.get("b")) == (None, None)
    weighed.put("c", "y" * 10)
    assert weighed.get("c") == "y" * 10, "nothing that is gone weighs any more"
