"""What a body is made of costs little more than its bytes, however it is written."""

import tracemalloc
from collections.abc import Callable
from urllib.parse import parse_qsl

import pytest

from api.fields import MOST_ESCAPES, _form
from api.images import decode_base64

MIB = 2**20


def peak(call: Callable[[], object]) -> int:
    """The most memory that a call holds at a time, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body",
    [
        b"a=b&c=d%20e+f&a=g",
        b"prompt=100%+cotton%2",
        b"%c3%bc=%C3%A4%ff\xff&x=\xc3\xbc%41",
        b"a&=b&&c=d=e&f=;g",
    ],
)
def test_a_form_is_read_as_the_standard_library_reads_it(body):
    theirs = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))

    assert _form(body) == theirs


def test_text_of_all_kinds_in_a_form_is_not_taken_to_pieces():
    body = b"prompt=%41" + "üa".encode() * (MIB // 3)

    assert peak(lambda: _form(body)) < 8 * MIB


def test_a_form_has_room_for_two_large_images():
    images = b"%2B".join([b"A" * 31] * (MOST_ESCAPES - 1))

    assert len(images) > 33 * MIB
    assert _form(b"init_image=%2F" + images[:MIB])["init_image"].startswith("/AAAA")


@pytest.mark.parametrize("text", ["AA ", "A\n", "AAAA\t\r\n", "é A"])
def test_blanks_in_base64_cost_no_memory_of_their_own(text):
    image = text * (2 * MIB // len(text))

    def read() -> None:
        with pytest.raises(ValueError, match="must be"):
            decode_base64(image)

    assert peak(read) < 10 * MIB
