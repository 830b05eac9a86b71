"""`python -m infra.fuzz`: schemathesis against the whole service; ARGS go to `schemathesis run`.

First all operations with a customer's key, then, unless ARGS choose operations, those of operators
with an operator's.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.fuzz.run import CUSTOMER, FOR_OPERATORS, OPERATOR, fuzz
from shared.tenants import Scope

USUAL = ("--max-examples", "20")
"""At random, for each operation. What ARGS say comes later and wins."""


def _runs(options: list[str]) -> Iterator[tuple[list[str], Sequence[Scope]]]:
    yield [*USUAL, *options], CUSTOMER
    if not any(option.startswith(("--include-", "--exclude-")) for option in options):
        yield [*USUAL, "--include-path-regex", FOR_OPERATORS, *options], OPERATOR


def main(options: list[str]) -> int:
    """Run it; 0 when every check holds."""
    worst = 0
    for chosen, scopes in _runs(options):
        with tempfile.TemporaryDirectory() as folder:
            ended = fuzz(Path(folder), chosen, scopes)
        print(ended.stdout, flush=True)
        worst = max(worst, ended.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
