"""The list of failures names tests that are there."""

import ast
import re
from pathlib import Path

PAGE = Path("infra/docs/failures.md")
ELSEWHERE = {21, 22}


def test_every_test_that_the_list_of_failures_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text())

    assert named
    missing = [f"{file}::{test}" for file, test in named if test not in functions_of(Path(file))]
    assert missing == []


def test_every_failure_but_those_with_a_harness_of_their_own_has_a_test():
    rows = re.findall(r"^\| (\d+) \|.*`tests/", PAGE.read_text(), re.MULTILINE)

    assert {int(row) for row in rows} == set(range(1, 24)) - ELSEWHERE


def functions_of(file: Path) -> set[str]:
    """Names of its test functions."""
    tree = ast.parse(file.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}
