"""What differs between the public API's versions: a table of values, not a tree of ifs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["text2img", "img2img", "inpaint"]
"""What an image is made from: a text, an image, an image and a mask."""

KINDS: dict[str, Kind] = {"/text2img": "text2img", "/img2img": "img2img", "/inpaint": "inpaint"}
"""By the paths that most versions have."""
KARRAS = {"use_karras_sigmas": "yes"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version's ways."""

    name: str
    prefix: str
    """Where its paths begin."""
    kinds: Mapping[str, Kind] = field(default_factory=lambda: KINDS)
    """Below the prefix, what each path makes."""
    names_model: bool = True
    """Whether `model_id` says what runs it; elsewhere it is the deployment's default model."""
    needs_prompt: bool = True
    """Whether an image-to-image request without a prompt is refused."""
    is_modern: bool = False
    """As from v6 on: errors are flat texts, limits are kept to, an unknown id is a 404."""
    fetch: str = "/fetch/{id}"
    """Below the prefix, where a result is; `{id}` is the job's."""
    is_strict: bool = False
    """Whether a number must be a number: "512" is none."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What absent fields mean, where it is not what v3 means by it."""

    @property
    def fetch_path(self) -> str:
        """Where a result is fetched; `{id}` is the job's."""
        return f"{self.prefix}{self.fetch}"


V3 = Dialect("v3", "/api/v3", names_model=False)
REALTIME = Dialect(
    "v6-realtime",
    "/api/v6/realtime",
    names_model=False,
    is_modern=True,
    defaults={"safety_checker": "no"},
)
EDITING = Dialect(
    "v6-editing",
    "/api/v6/image_editing",
    kinds={"/inpaint": "inpaint"},
    names_model=False,
    is_modern=True,
)
COMPANY = Dialect("enterprise", "/api/v1/enterprise", is_modern=True, defaults=KARRAS)
ENTERPRISE = {
    f"{COMPANY.prefix}{room}": replace(
        like, name=f"{COMPANY.name}{room}".replace("/", "-"), prefix=f"{COMPANY.prefix}{room}"
    )
    for room, like in {
        "": COMPANY,
        "/images": COMPANY,
        "/txt2img": COMPANY,
        "/realtime": REALTIME,
        "/image_editing": EDITING,
    }.items()
}
"""By prefix: documents and clients disagree where it is."""

DIALECTS = {
    dialect.name: dialect
    for dialect in (
        V3,
        Dialect("v3-dreambooth", "/api/v3/dreambooth", kinds={**KINDS, "": "text2img"}),
        Dialect("v4", "/api/v4/dreambooth", kinds={**KINDS, "": "text2img"}, defaults=KARRAS),
        Dialect("v5", "/api/v5/images", kinds={}),
        Dialect(
            "v6",
            "/api/v6/images",
            needs_prompt=False,
            is_modern=True,
            defaults={**KARRAS, "safety_checker": "no"},
        ),
        REALTIME,
        EDITING,
        replace(EDITING, name="v1-editing", prefix="/api/v1/image_editing"),
        Dialect(
            "v7",
            "/api/v7/images",
            kinds={
                "/text-to-image": "text2img",
                "/image-to-image": "img2img",
                "/inpaint": "inpaint",
            },
            is_modern=True,
        ),
        *ENTERPRISE.values(),
    )
}


V1 = Dialect(
    "v1",
    "/v1",
    needs_prompt=False,
    is_modern=True,
    fetch="/jobs/{id}",
    is_strict=True,
    defaults={"enhance_prompt": False},
)
"""Our own: nothing in it is for the sake of older clients (api/v1.py)."""


def dialect_of(path: str) -> Dialect:
    """The version that a path belongs to; what belongs to none is answered as v3 would."""
    every = (*DIALECTS.values(), V1)
    fitting = [d for d in every if path == d.prefix or path.startswith(f"{d.prefix}/")]
    return max(fitting, key=lambda dialect: len(dialect.prefix), default=V3)
