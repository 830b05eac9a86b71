"""Addresses that are checked without the parser must be what it would have made of them."""

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.egress_guard import PLAIN, Guard, Refused, check_url

PARTS = (*"a1-_./:@%?#\\", "A", "..", "//", "0x7f", "xn--", "localhost", "b.c", "com", ".png", "é")


@settings(max_examples=200)
@given(st.from_regex(PLAIN, fullmatch=True))
def test_a_plain_address_is_its_own_normal_form(url):
    assert_is_normal(url)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PARTS), max_size=8))
def test_what_is_strange_is_not_plain(parts):
    url = "https://b.c" + "".join(parts)

    if PLAIN.fullmatch(url):
        assert_is_normal(url)


@pytest.mark.parametrize(
    "url", ["http://b.c.0x7f/", "https://b.c.COM", "https://b.c.1", "http://b.c:80/a"]
)
def test_a_host_or_port_that_needs_the_parser_is_not_plain(url):
    assert not PLAIN.fullmatch(url)


@pytest.mark.parametrize(
    ("url", "guard", "reason"),
    [
        ("http://example.com/a.png", Guard(allow_http=False), "scheme not allowed"),
        ("http://example.com/a.png", Guard(ports=frozenset({443})), "port not allowed"),
        ("http://a.localhost/a.png", Guard(), "address not allowed"),
    ],
)
def test_a_plain_address_is_refused_for_the_same_reasons(url, guard, reason):
    assert PLAIN.fullmatch(url)
    for check in (lambda: check_url(url, guard), lambda: guard.check_url(httpx.URL(url))):
        with pytest.raises(Refused, match=reason):
            check()


def assert_is_normal(url: str) -> None:
    parsed, plain = httpx.URL(url), PLAIN.fullmatch(url)
    assert str(parsed) == url
    assert (parsed.scheme, parsed.raw_host.decode()) == plain.groups()
    assert parsed.netloc == parsed.raw_host  # neither a user nor a port
