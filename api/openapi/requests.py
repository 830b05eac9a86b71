"""The body of a request for images, exactly as each version of the API reads it."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le, MaxLen
from pydantic.fields import FieldInfo

from api.add_ons import MOST
from api.dialects import Dialect, Kind
from api.openapi.patterns import any_of, decimal_text, whole_text
from api.requests import IMAGES, LONGEST_ITEM, MOST_SAMPLES, ImageRequest, needed
from shared.jobs import MAX_SEED
from shared.models import Limits
from shared.schedulers import A1111, KARRAS, SCHEDULERS, UNFIT

Schema = dict[str, Any]
Choices = Mapping[str, list[str]]
"""Names of a deployment's allow-lists, by field."""

ABSENT: Schema = {"enum": [None, "", "null"], "description": "Absent"}
YES_NO = ("yes", "no", "true", "false", "on", "off", "y", "n", "t", "f", "1", "0")
FORMATS = ("png", "jpeg", "jpg", "webp")
UNUSED = ("lora", "embeddings", "vae")
NO_CONTROLS = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f]*$"
IMAGE_FIELDS = IMAGES["inpaint"]
KEY: Schema = {"type": ["string", "null"], "description": "API key, where no header has it"}
SCHEDULER_NAMES = [
    *SCHEDULERS,
    *UNFIT,
    *A1111,
    *(f"{short} Karras" for short, (name, _) in A1111.items() if KARRAS in SCHEDULERS[name]),
]


def request_schema(dialect: Dialect, kind: Kind, limits: Limits, choices: Choices) -> Schema:
    """A JSON object that the version takes for this kind of image."""
    # Our own API runs the default model where none is named.
    optional = {"model_id"} if dialect.is_strict else set()
    required = [name for name in needed(dialect, kind) if name not in optional]
    fields = {
        name: info
        for name, info in ImageRequest.model_fields.items()
        if name not in IMAGE_FIELDS or name in IMAGES[kind]
    }
    if not dialect.names_model and not dialect.is_strict:
        fields.pop("model_id")
    properties = {
        name: _property(name, info, dialect, limits, choices, is_needed=name in required)
        for name, info in fields.items()
    }
    own: Schema = {} if dialect.is_strict else {"key": KEY}
    return {"type": "object", "properties": own | properties, "required": required}


def _property(
    name: str,
    info: FieldInfo,
    dialect: Dialect,
    limits: Limits,
    choices: Choices,
    *,
    is_needed: bool,
) -> Schema:
    value = _value(name, info, dialect, limits, choices)
    described = {"description": info.description or ""}
    if name == "track_id":
        return value | described
    if dialect.is_strict:
        return {"anyOf": [*value["anyOf"], *([] if is_needed else [{"type": "null"}])]} | described
    if is_needed:
        return {"anyOf": value["anyOf"], "not": ABSENT} | described
    return {"anyOf": [*value["anyOf"], ABSENT]} | described


def _value(
    name: str, info: FieldInfo, dialect: Dialect, limits: Limits, choices: Choices
) -> Schema:
    """What the field takes beside being absent."""
    is_free = name == "enhance_style" and not dialect.is_strict
    special = None if is_free else _special(name, choices)
    return _typed(name, info, dialect, limits) if special is None else special


def _special(name: str, choices: Choices) -> Schema | None:
    """Of fields that take more, or less, than their type says."""
    match name:
        case "track_id":
            schema: Schema = {"title": "Any JSON"}
        case "init_image" | "mask_image" | "webhook":
            schema = _address(name)
        case "lora_model" | "embeddings_model" | "vae":
            schema = _names(choices[name], most=1 if name == "vae" else MOST)
        case "lora_strength":
            schema = _strengths()
        case "model_id" | "enhance_style":
            schema = {"anyOf": [{"enum": choices[name]}]}
        case "scheduler":
            schema = {"anyOf": [{"enum": SCHEDULER_NAMES}]}
        case "output_format":
            schema = {"anyOf": [{"type": "string", "pattern": f"^({any_of(FORMATS)})$"}]}
        case _:
            return None
    return schema


def _address(name: str) -> Schema:
    if name == "webhook":
        return {
            "anyOf": [{"type": "string", "format": "webhook", "minLength": 8, "maxLength": 2048}]
        }
    image: Schema = {"type": "string", "format": "image", "minLength": 8}
    if name == "mask_image":
        return {"anyOf": [image]}
    return {"anyOf": [image, {"type": "array", "items": image, "minItems": 1, "maxItems": 1}]}


def _names(known: list[str], most: int) -> Schema:
    """Names with commas between; placeholders and nothing are no name."""
    suffixes = f"({any_of(['_model'])})?({any_of(['_id'])})?"
    placeholder = f"{any_of(['null', 'none'])}|({any_of(UNUSED)}){suffixes}"
    name = f" *({'|'.join((*map(re.escape, known), placeholder))})? *"
    more = f"(,{name}){{0,{most - 1}}}" if most > 1 else ""
    longest = 1000 if most > 1 else 128
    text: Schema = {"type": "string", "maxLength": longest, "pattern": f"^{name}{more}$"}
    listed: Schema = {
        "type": "array",
        "maxItems": most,
        "items": {"type": "string", "maxLength": LONGEST_ITEM, "pattern": f"^{name}$"},
    }
    return {"anyOf": [text, listed] if most > 1 else [text]}


def _strengths() -> Schema:
    """What they must be depends on the LoRAs; without any they mean nothing."""
    text, number = {"type": "string", "maxLength": 1000}, {"type": "number"}
    short = {"type": "string", "maxLength": LONGEST_ITEM}
    listed = {"type": "array", "maxItems": MOST, "items": {"anyOf": [short, number]}}
    return {"anyOf": [text, number, listed]}


def _typed(name: str, info: FieldInfo, dialect: Dialect, limits: Limits) -> Schema:
    plain = _plain(info.annotation)
    if get_origin(plain) is Literal:
        extra = ["blank"] if name == "safety_checker_type" else []
        return {"anyOf": [{"enum": [*get_args(plain), *extra]}]}
    return READERS[plain](name, info, dialect, limits)


def _plain(annotation: Any) -> Any:
    """The one type or Literal in `X | None`, without annotations."""
    if isinstance(annotation, type) or get_origin(annotation) is Literal:
        return annotation
    return _plain(next(each for each in get_args(annotation) if each is not type(None)))


def _bounds(name: str, info: FieldInfo, dialect: Dialect, limits: Limits) -> tuple[int, int | None]:
    if name in ("width", "height"):
        return limits.min_side, limits.max_side
    if name == "samples":
        most = min(MOST_SAMPLES, limits.max_samples)
        return 1, most if dialect.is_modern else None
    if name == "seed":
        return 0, MAX_SEED - 1
    low = next(bound.ge for bound in info.metadata if isinstance(bound, Ge))
    high = next(bound.le for bound in info.metadata if isinstance(bound, Le))
    return int(low), int(high)  # type: ignore[call-overload]


def _whole(name: str, info: FieldInfo, dialect: Dialect, limits: Limits) -> Schema:
    low, high = _bounds(name, info, dialect, limits)
    number: Schema = {"type": "integer", "minimum": low}
    if high is not None:
        number["maximum"] = high
    multiple = limits.multiple if name in ("width", "height") and dialect.is_modern else 1
    if multiple > 1:
        number["multipleOf"] = multiple
    text = {"type": "string", "pattern": whole_text(low, high, multiple)}
    random: list[Schema] = [{"enum": [-1]}] if name == "seed" else []
    if dialect.is_strict:
        return {"anyOf": [number, *random]}
    random += [{"type": "string", "pattern": "^ *-1 *$"}] if random else []
    return {"anyOf": [number, text, *random]}


def _decimal(name: str, info: FieldInfo, dialect: Dialect, limits: Limits) -> Schema:
    low, high = _bounds(name, info, dialect, limits)
    assert high is not None
    number = {"type": "number", "minimum": low, "maximum": high}
    text = {"type": "string", "pattern": decimal_text(low, high)}
    return {"anyOf": [number] if dialect.is_strict else [number, text]}


def _boolean(_name: str, _info: FieldInfo, dialect: Dialect, _limits: Limits) -> Schema:
    if dialect.is_strict:
        return {"anyOf": [{"type": "boolean"}]}
    text = {"type": "string", "pattern": f"^({any_of(YES_NO)})$"}
    return {"anyOf": [{"type": "boolean"}, {"enum": [0, 1]}, text]}


def _text(name: str, info: FieldInfo, dialect: Dialect, _limits: Limits) -> Schema:
    text: Schema = {"type": "string"}
    most = [bound.max_length for bound in info.metadata if isinstance(bound, MaxLen)]
    text |= {"maxLength": most[0]} if most else {}
    if name in ("prompt", "negative_prompt"):
        text |= {"maxLength": 2000, "pattern": NO_CONTROLS}
    return {"anyOf": [text] if dialect.is_strict else [text, {"type": "number"}]}


READERS: Mapping[type, Callable[[str, FieldInfo, Dialect, Limits], Schema]] = {
    int: _whole,
    float: _decimal,
    bool: _boolean,
    str: _text,
}
