"""What /openapi.json says, tried out by schemathesis against the whole service."""

import pytest

from infra.fuzz.run import CUSTOMER, FOR_OPERATORS, OPERATOR, fuzz

SEED = 20_261_122
ONE_OF_A_KIND = (
    r"^/(v1/(text2img|jobs.*|uploads|webhooks.*|models|errors.*)"
    r"|api/v3/(img2img|fetch.*|delete_image|base64_crop|system_load)"
    r"|api/v6/images/(inpaint|fetch)|healthz|readyz|metrics|generations.*|uploads.*)$"
)
"""Operations that between them have every schema; `make fuzz` takes all, and takes its time."""


@pytest.mark.parametrize(
    ("scopes", "phases", "options"),
    [
        (CUSTOMER, "examples", ()),
        (CUSTOMER, "coverage", ("--include-path-regex", ONE_OF_A_KIND)),
        (CUSTOMER, "fuzzing,stateful", ("--max-examples", "3", "--include-path-regex", "^/v1/")),
        (OPERATOR, "examples,coverage", ("--include-path-regex", FOR_OPERATORS)),
    ],
    ids=["every example", "every bound", "at random", "what operators do"],
)
def test_every_check_of_the_schema_holds(tmp_path, scopes, phases, options):
    asked = ["--seed", str(SEED), "--no-shrink", "--phases", phases, *options]

    ended = fuzz(tmp_path, asked, scopes)

    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout
