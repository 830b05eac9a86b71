"""Cases 77 to 84: how an image is written into a request."""

import base64
from collections.abc import Iterator

from tests.e2e.images.case import Case, inline
from tests.worker.gpu.pictures import encoded, noise, photo

WRONG = "must be a URL or a base64 image"
KIND = "must be a PNG, JPEG or WebP image"


def cases() -> Iterator[Case]:
    """Of good pictures, mostly."""
    text = inline(encoded(photo()))
    url_safe = base64.urlsafe_b64encode(encoded(noise())).decode()
    assert "-" in url_safe
    assert "_" in url_safe
    spaced = "\r\n ".join(text[place : place + 60] for place in range(0, len(text), 60))
    unpadded = inline(encoded(photo()) + b"\0" * (2 - len(encoded(photo())) % 3)).rstrip("=")
    assert len(unpadded) % 4
    data_uri = "data:image/png;base64,"
    for number, says, image, refused in (
        (77, "in lines", spaced, None),
        (78, "in the other alphabet", url_safe, None),
        (78, "without padding", unpadded, None),
        (79, "with other signs", f"{text[:40]}@@{text[40:]}", WRONG),
        (79, "with other letters", f"{text[:40]}ü{text[40:]}", WRONG),
        (80, "a JPEG that says it is a PNG", data_uri + inline(encoded(photo(), "JPEG")), None),
        (81, "an SVG", "data:image/svg+xml,<svg/>", "init_image"),
        (81, "a page", "data:text/html,<script>alert(1)</script>", "init_image"),
        (82, "percent-encoded", "data:image/png,%89PNG%0D%0A%1A%0A", WRONG),
        (83, "12 MiB and a byte", "A" * (4 * 2**22 + 2), "at most 12 MiB"),
        (84, "words", "no image at all", KIND),
        (84, "nothing", None, "init_image"),
        (84, "a number", 17, "init_image"),
        (84, "two images", [text, text], "must be one image"),
        (84, "an object", {"url": text}, "must be a string"),
    ):
        yield Case(number, says, {"init_image": image}, refused)
