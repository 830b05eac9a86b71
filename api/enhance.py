"""What `enhance_prompt` and `enhance_style` make of a prompt: templates, work for a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from api.dialects import Dialect
from api.errors import InvalidFields
from api.requests import ImageRequest
from shared.jobs import Job

PLAIN = "{prompt}, highly detailed, sharp focus, professional lighting, high resolution"
"""Where no style is named."""
PROMPT = "{prompt}"
"""Stands for the caller's own prompt in a template."""

Styles = Mapping[str, str]
"""Templates by name."""


def read_styles(path: Path) -> Styles:
    """The styles file; raises `ValueError` naming the style that is no template."""
    styles = yaml.safe_load(path.read_text()) or {}
    for name, template in styles.items():
        if not isinstance(template, str) or template.count(PROMPT) != 1:
            raise ValueError(f"{path}: {name}: must be a text with {PROMPT} in it, once")
    return {_spelt(str(name)): template for name, template in styles.items()}


def enhance(
    job: Job, request: ImageRequest, dialect: Dialect, styles: Styles, *, by_model: bool
) -> Job:
    """The job with its prompt as it is to be run; `by_model`: a worker may find better words.

    Raises InvalidFields for a style that is not there, in strict versions. Elsewhere it is none:
    the public API names no list, and clients send whatever they were told once.
    """
    style = _spelt(request.enhance_style or "")
    if style and style not in styles and dialect.is_strict:
        allowed = f"one of {', '.join(sorted(styles))}" if styles else "absent"
        raise InvalidFields.of("enhance_style", f"must be {allowed}, got {request.enhance_style!a}")
    is_named = request.enhance_prompt and style in styles
    changes: dict[str, Any] = {}
    if request.enhance_prompt:
        template = styles.get(style, PLAIN)
        changes["prompt"] = template.replace(PROMPT, job.params.prompt).strip(" ,")
        if by_model and job.params.prompt:
            changes["opening"] = changes["prompt"] if is_named else job.params.prompt
    echo = {
        "enhance_prompt": "yes" if request.enhance_prompt else "no",
        "enhance_style": style if is_named else None,
    }
    params = job.params.model_copy(update=changes)
    return job.model_copy(update={"params": params, "echo": job.echo | echo})


def _spelt(name: str) -> str:
    return name.strip().lower().replace(" ", "-").replace("_", "-")
