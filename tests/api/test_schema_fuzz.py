"""What /openapi.json says, tried out by schemathesis against the whole service."""

import pytest

from infra.fuzz.run import fuzz

SEED = 20_261_122
ONE_OF_A_KIND = (
    r"^/(v1/(text2img|jobs.*|uploads|webhooks.*|models|errors.*)"
    r"|api/v3/(img2img|fetch.*|delete_image|base64_crop|system_load)"
    r"|api/v6/images/(inpaint|fetch)|healthz|readyz|metrics|generations.*|uploads.*)$"
)
"""Operations that between them have every schema; `make fuzz` takes all, and takes its time."""


@pytest.mark.parametrize(
    "options",
    [
        ("--phases", "examples"),
        ("--phases", "coverage", "--include-path-regex", ONE_OF_A_KIND),
        ("--phases", "fuzzing,stateful", "--max-examples", "3", "--include-path-regex", "^/v1/"),
    ],
    ids=["every example", "every bound", "at random"],
)
def test_every_check_of_the_schema_holds(tmp_path, options):
    ended = fuzz(tmp_path, ["--seed", str(SEED), "--no-shrink", *options])

    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout
