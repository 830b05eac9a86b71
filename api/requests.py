"""The public request for an image, leniently read, and the one Job it becomes."""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from api.add_ons import MOST, Added
from api.dialects import Dialect, Kind
from api.errors import REQUIRED, InvalidFields
from api.fields import ABSENT
from shared.jobs import (
    MAX_SEED,
    Cover,
    Determinism,
    Format,
    Job,
    Params,
    new_job_id,
    new_seed,
    sample_seeds,
)
from shared.models import ModelCard
from shared.schedulers import Algorithm, Choice, Start

WHOLE = re.compile(r" *[+-]?[0-9]+(\.0+)? *")
DECIMAL = re.compile(r" *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+) *")
"""Numbers as text: nothing else that Python would read as one, so that it can be documented."""
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
MOST_SAMPLES = 4
LONGEST, DEEPEST = 4096, 16
"""Bytes and levels of a track_id."""
LONGEST_ITEM = 180
"""Characters of a text in a list."""
IMAGES: dict[Kind, tuple[str, ...]] = {
    "text2img": (),
    "img2img": ("init_image",),
    "inpaint": ("init_image", "mask_image"),
}
"""What each kind starts from."""
REASONS = {
    "missing": REQUIRED,
    "extra_forbidden": "is unknown",
    "string_pattern_mismatch": "must match {pattern}",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
    "string_unicode": "must be Unicode",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a number",
    "bool_type": "must be true or false",
    "bool": "must be yes or no",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "literal_error": "must be {expected}",
}
"""By pydantic's names of errors, or by the first word of those."""
SHOWN = 40
"""Characters of a wrong value that are repeated."""


def _no_control_characters(text: str) -> str:
    if CONTROL_CHARACTERS.search(text):
        raise ValueError("must not contain control characters")
    return text


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and not WHOLE.fullmatch(value)):
        raise PydanticCustomError("int", "no whole number")
    # JSON has one kind of number: 512.0 is whole, however strictly one reads.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _decimal(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and not DECIMAL.fullmatch(value)):
        raise PydanticCustomError("float", "no number")
    return value


def _random_when_negative(seed: Any) -> Any:
    return None if seed == -1 or str(seed).strip() == "-1" else seed


def _one_image(images: Any) -> Any:
    if not isinstance(images, list):
        return images
    images = [image for image in images if image not in ABSENT]
    if len(images) != 1:
        raise ValueError(f"must be one image, got {len(images)}")
    return images[0]


def _black_when_blank(cover: Any) -> Any:
    return "black" if cover == "blank" else cover


def _jpeg_when_jpg(name: Any) -> Any:
    lower = name.lower() if isinstance(name, str) else name
    return "jpeg" if lower == "jpg" else lower


def _small(value: Any) -> Any:
    """JSON that can be kept and echoed; raises ValueError for what is large, deep or no Unicode."""
    _no_deeper(value, DEEPEST)
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:
        raise ValueError("must be JSON and Unicode") from None
    if size > LONGEST:
        raise ValueError(f"must be at most {LONGEST} bytes of JSON")
    return value


def _no_deeper(value: Any, levels: int) -> None:
    if levels == 0:
        raise ValueError(f"must not be nested deeper than {DEEPEST}")
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in inner:
        _no_deeper(item, levels - 1)


def _is_item(item: Any) -> bool:
    if isinstance(item, str):
        return len(item) <= LONGEST_ITEM
    return isinstance(item, int | float) and not isinstance(item, bool)


def _joined(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if len(value) > MOST:
        raise ValueError(f"must be at most {MOST}, got {len(value)}")
    if not all(map(_is_item, value)):
        raise ValueError(f"must be texts of at most {LONGEST_ITEM} characters, or numbers")
    return ",".join(map(str, value))


def _as_text(number: Any) -> Any:
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return str(number) if is_number else number


Text = Annotated[str, Field(max_length=2000), AfterValidator(_no_control_characters)]
Whole = Annotated[int, BeforeValidator(_whole)]
Decimal = Annotated[float, BeforeValidator(_decimal)]
Side = Annotated[Whole | None, Field(description="Pixels, rounded down to a multiple of 8")]
Listed = Annotated[str | None, Field(max_length=1000), BeforeValidator(_joined)]


class ImageRequest(BaseModel):
    """What every version takes. Numbers may come as strings; null, "" and "null" mean absent."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, coerce_numbers_to_str=True)

    model_id: Annotated[str | None, Field(description="Where the version lets one choose")] = None
    prompt: Annotated[Text, Field(description="What to paint")] = ""
    init_image: Annotated[
        str | None,
        Field(min_length=1, description="A URL, base64, or a data URI: PNG, JPEG or WebP"),
        BeforeValidator(_one_image),
    ] = None
    mask_image: Annotated[
        str | None, Field(min_length=1, description="Same forms; white is repainted, black is kept")
    ] = None
    negative_prompt: Annotated[Text | None, Field(description="What to avoid")] = None
    width: Side = None
    height: Side = None
    samples: Annotated[Whole, Field(description="Images, 1 to 4; more counts as 4")] = 1
    num_inference_steps: Annotated[
        Whole,
        Field(
            ge=1, le=51, validation_alias=AliasChoices("num_inference_steps", "steps"),
            description="Length of the denoising schedule, 1 to 51",
        ),
    ] = 20  # fmt: skip
    strength: Annotated[
        Decimal,
        Field(
            ge=0, le=1, validation_alias=AliasChoices("strength", "prompt_strength"),
            description="Share of the schedule that is run: 0 keeps the init image, 1 replaces it",
        ),
    ] = 0.7  # fmt: skip
    guidance_scale: Annotated[
        Decimal,
        Field(
            ge=1, le=20, validation_alias=AliasChoices("guidance_scale", "guidance"),
            description="How closely the prompt is followed, 1 to 20",
        ),
    ] = 7.5  # fmt: skip
    scheduler: Annotated[
        str | None, Field(max_length=64, description="A diffusers class or the web UI's name of it")
    ] = None
    use_karras_sigmas: Annotated[
        bool | None, Field(description="The Karras noise schedule, where the scheduler has it")
    ] = None
    algorithm_type: Annotated[
        Algorithm | None, Field(description="Of DPMSolver schedulers; dpmsolver+++ is the SDE one")
    ] = None
    clip_skip: Annotated[
        Whole | None, Field(ge=1, le=8, description="Last text encoder layers to leave out")
    ] = None
    lora_model: Annotated[
        Listed, Field(validation_alias=AliasChoices("lora_model", "lora"), description="Names")
    ] = None
    lora_strength: Annotated[
        Listed,
        Field(description="0 to 2, for each LoRA or for all"),
        BeforeValidator(_as_text),
    ] = None
    embeddings_model: Annotated[
        Listed,
        Field(
            validation_alias=AliasChoices("embeddings_model", "embeddings"),
            description="Names of textual inversions, whose tokens the prompts have",
        ),
    ] = None
    vae: Annotated[str | None, Field(max_length=128, description="Name of another VAE")] = None
    enhance_prompt: Annotated[bool, Field(description="Append quality words to the prompt")] = True
    enhance_style: Annotated[
        str | None, Field(max_length=64, description="Words of this style instead, by its name")
    ] = None
    safety_checker: Annotated[
        bool, Field(description="Replace unsafe pictures; meta.safety_checker says if it ran")
    ] = True
    safety_checker_type: Annotated[
        Cover, Field(description="By what; blank means black"), BeforeValidator(_black_when_blank)
    ] = "sensitive_content_text"
    seed: Annotated[
        Whole | None,
        Field(ge=0, lt=MAX_SEED, description="Of the first sample; absent: random"),
        BeforeValidator(_random_when_negative),
    ] = None
    determinism: Annotated[
        Determinism | None,
        Field(description="strict: the same bits whatever the load, or a failure"),
    ] = None
    base64: Annotated[bool, Field(description="Outputs are links to base64 text")] = False
    output_format: Annotated[
        Format, Field(description="jpg means jpeg"), BeforeValidator(_jpeg_when_jpg)
    ] = "png"
    quality: Annotated[
        Whole | None, Field(ge=1, le=100, description="Of JPEG and WebP; default 95 and 90")
    ] = None
    temp: Annotated[bool, Field(description="Outputs last a day")] = False
    webhook: Annotated[str | None, Field(max_length=2048, description="Called with the result")] = (
        None
    )
    track_id: Annotated[
        Any, Field(description="Any JSON; comes back in the webhook"), AfterValidator(_small)
    ] = None

    @classmethod
    def read(cls, fields: Mapping[str, Any], dialect: Dialect, kind: Kind) -> "ImageRequest":
        """The request in these fields; raises InvalidFields that says what is wrong with each."""
        missing = {name: [REQUIRED] for name in needed(dialect, kind) if name not in fields}
        # Who names a style wants it, also where nothing is enhanced unasked.
        named = {"enhance_prompt": True} if "enhance_style" in fields else {}
        try:
            request = cls.model_validate(
                {**dialect.defaults, **named, **fields}, strict=dialect.is_strict or None
            )
        except ValidationError as error:
            raise InvalidFields(missing | _explain(error)) from None
        if missing:
            raise InvalidFields(missing)
        if kind == "text2img":  # some clients send one form for everything
            return request.model_copy(update={"init_image": None, "mask_image": None})
        return request

    def to_job(
        self,
        *,
        tenant: str,
        card: ModelCard,
        dialect: Dialect,
        scheduler: Choice,
        added: Added,
        determinism: Determinism,
    ) -> Job:
        """The job, with every default decided; its images and prompt are still as they came.

        `determinism` is the deployment's, for requests that do not say. Raises InvalidFields for
        what the model or the version does not allow.
        """
        limits = card.limits
        width, height = self._size(card, dialect)
        seed = new_seed() if self.seed is None else self.seed
        return Job(
            id=new_job_id(),
            file_prefix=str(uuid.uuid4()),
            tenant=tenant,
            pool=card.pool,
            dialect=dialect.name,
            params=Params(
                model_id=card.model_id,
                prompt=self.prompt,
                negative_prompt=self.negative_prompt or card.negative_prompt,
                init_image=self.init_image,
                mask_image=self.mask_image,
                width=width,
                height=height,
                steps=min(self.num_inference_steps, limits.max_steps),
                strength=card.strength(self.strength, masked=self.mask_image is not None),
                guidance_scale=self.guidance_scale,
                scheduler=scheduler.name,
                scheduler_options=scheduler.options,
                clip_skip=self.clip_skip,
                loras=added.loras,
                embeddings=added.embeddings,
                vae=added.vae,
                seeds=sample_seeds(seed, self._samples(card, dialect)),
                base64=self.base64,
                output_format=self.output_format,
                quality=self.quality,
                temp=self.temp,
                safety_checker=self.safety_checker,
                safety_checker_type=self.safety_checker_type,
                determinism=self.determinism or determinism,
            ),
            webhook=self.webhook,
            track_id=self.track_id,
            echo={"enable_attention_slicing": "false", "revision": card.dtype},
        )

    @property
    def start(self) -> Start:
        """What it starts from."""
        if self.mask_image is not None:
            return "mask"
        return "text" if self.init_image is None else "image"

    def _size(self, card: ModelCard, dialect: Dialect) -> tuple[int | None, int | None]:
        """Width and height; None: the init image decides. A text alone is square unless asked."""
        width = _side("width", self.width, card, dialect)
        height = _side("height", self.height, card, dialect)
        if self.init_image is not None:
            return width, height
        own = min(card.limits.default_side, card.limits.max_side)
        return width or height or own, height or width or own

    def _samples(self, card: ModelCard, dialect: Dialect) -> int:
        most = min(MOST_SAMPLES, card.limits.max_samples)
        if self.samples < 1 or (dialect.is_modern and self.samples > most):
            raise InvalidFields.of("samples", f"must be between 1 and {most}, got {self.samples}")
        # Older clients ask for more than there is and expect the most there is.
        return min(self.samples, most)


def needed(dialect: Dialect, kind: Kind) -> list[str]:
    """Fields that a request must have."""
    needed = ["model_id"] if dialect.names_model else []
    if dialect.needs_prompt or kind == "text2img":
        needed.append("prompt")
    return [*needed, *IMAGES[kind]]


def _side(name: str, pixels: int | None, card: ModelCard, dialect: Dialect) -> int | None:
    if pixels is None:
        return None
    limits = card.limits
    if not limits.min_side <= pixels <= limits.max_side:
        allowed = f"between {limits.min_side} and {limits.max_side}"
        raise InvalidFields.of(name, f"must be {allowed}{_got(pixels)}")
    if dialect.is_modern and pixels % limits.multiple:
        raise InvalidFields.of(name, f"must be divisible by {limits.multiple}, got {pixels}")
    return pixels - pixels % limits.multiple


def _explain(error: ValidationError) -> dict[str, list[str]]:
    """Field -> reasons; long values and anything but a plain value are not repeated."""
    reasons: dict[str, list[str]] = {}
    for entry in error.errors(include_url=False):
        text = reason(entry) + _got(entry["input"])
        reasons.setdefault(str(entry["loc"][0]), []).append(text)
    return reasons


def _bounded() -> dict[str | int, str]:
    """Fields of two bounds, by any of their names -> what they must be."""
    texts: dict[str | int, str] = {}
    for name, field in ImageRequest.model_fields.items():
        low = [bound.ge for bound in field.metadata if isinstance(bound, Ge)]
        high = [bound.le for bound in field.metadata if isinstance(bound, Le)]
        alias = field.validation_alias
        names = alias.choices if isinstance(alias, AliasChoices) else [name]
        if low and high:
            texts |= dict.fromkeys(map(str, names), f"must be between {low[0]} and {high[0]}")
    return texts


BOUNDED = _bounded()


def _got(given: Any) -> str:
    is_plain = isinstance(given, int | float | str)
    return f", got {given!a}" if is_plain and _is_short(given) else ""


def _is_short(given: float | str) -> bool:
    # Not the digits of a number, which Python would refuse to write at some length.
    return len(given) <= SHOWN if isinstance(given, str) else abs(given) < 10**SHOWN


def reason(entry: Mapping[str, Any]) -> str:
    """What is wrong by one of pydantic's errors, to be read after the field's name."""
    kind = entry["type"]
    if kind in ("greater_than_equal", "less_than_equal") and entry["loc"][0] in BOUNDED:
        return BOUNDED[entry["loc"][0]]
    text = REASONS.get(kind) or REASONS.get(kind.partition("_")[0])
    if text is None:
        message: str = entry["msg"].removeprefix("Value error, ")
        return message if kind == "value_error" else f"is invalid: {message}"
    return text.format(**entry.get("ctx", {}))
