from datetime import timedelta

import pytest
from pydantic import SecretStr

from shared.api_keys import PREFIX, is_whole, key_digest, lifetime, new_key

PEPPER = SecretStr("pepper")


def test_a_key_says_whose_it_is_and_whether_it_is_whole():
    key = new_key()

    assert key.startswith(PREFIX)
    assert len(key) == len(PREFIX) + 43 + 6
    assert is_whole(key)


def test_a_key_that_was_mistyped_or_cut_is_not_whole():
    key = new_key()
    swapped = [
        key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :]
        for place in range(len(key))
    ]

    assert not any(map(is_whole, [*swapped, key[:-1], f"{key} ", "", "secret-of-alice"]))


def test_no_two_keys_are_alike():
    assert len({new_key() for _ in range(1000)}) == 1000


def test_without_the_pepper_a_key_cannot_be_compared_with_what_is_kept():
    assert key_digest("key", PEPPER) == key_digest("key", PEPPER)
    assert key_digest("key", PEPPER) != key_digest("key", SecretStr("other"))


@pytest.mark.parametrize(("age", "days"), [("90d", 90), ("12h", 0.5), ("1440m", 1)])
def test_a_lifetime_has_a_unit(age, days):
    assert lifetime(age) == timedelta(days=days)


@pytest.mark.parametrize("age", ["90", "0d", "-1d", "1y", ""])
def test_a_lifetime_without_one_is_refused(age):
    with pytest.raises(ValueError, match="like 90d"):
        lifetime(age)
