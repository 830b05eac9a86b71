"""What a benchmark leaves behind: the closing table, its Markdown and the curves."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from infra.bench.__main__ import main
from infra.bench.goals import ELSEWHERE, ON_A_GPU, every_row, goals, markdown
from infra.bench.plots import draw
from infra.bench.report import QUICK, Curve, Finding, Row, in_turns, save

DOCS = Path(__file__).parents[2] / "infra" / "docs"
ABOUT = {"commit": "abc1234", "cpu_count": 2, "torch": "2.9.0"}
HELD = Row("speed: a / b", "1.50x", "at least 1.4x", held=True)
MISSED = Row("size", "3 MB", "at most 2 MB", held=False)


def test_rows_that_nobody_asked_for_are_no_goals():
    assert goals([HELD, Row("images/s", "20"), MISSED]) == [HELD, MISSED]


def test_a_miss_is_never_left_out():
    unmeasured = Row("speed: a / c", "not measured: no memory", held=False)

    assert goals([unmeasured]) == [unmeasured]


def test_an_indented_goal_says_what_it_is_about():
    rows = [Row("engine, mixed: images/s", "20"), Row("  largest difference", "1", "at most 1")]

    assert [row.what for row in goals(rows)] == ["engine, mixed: largest difference"]


def test_what_was_left_out_and_what_needs_a_card_is_in_the_table_all_the_same():
    rows = every_row({"png": Finding({}, [HELD])}, parts=("door", "png"))

    assert goals(rows) == rows
    assert rows[:2] == [HELD, Row("door", "not run", "its goals")]
    assert [row.measured for row in rows[2:]] == [ELSEWHERE] * len(ON_A_GPU)
    assert not any(row.verdict for row in rows[1:])


def test_ways_take_turns_and_every_second_round_goes_backwards():
    assert [*in_turns("ab", 2)] == [(0, "a"), (0, "b"), (0.5, "b"), (0.5, "a")]


def test_a_file_of_some_parts_is_named_by_them(tmp_path):
    path = save(tmp_path, QUICK, {"door": Finding({}, []), "png": Finding({}, [])}, [], ABOUT)

    assert path.stem.endswith("-door-png")


def test_a_saved_table_is_shown_as_markdown(tmp_path, capsys):
    path = save(tmp_path, QUICK, {"png": Finding({}, [HELD])}, [HELD, MISSED], ABOUT)

    assert main(["--show", str(path)]) == 0

    shown = capsys.readouterr().out
    assert ", commit abc1234, 2 cores, torch 2.9.0:\n\n| goal |" in shown
    assert "| speed: a / b | at least 1.4x | 1.50x | held |\n" in shown
    assert "| size | at most 2 MB | 3 MB | missed |\n" in shown


@pytest.mark.parametrize("text", ["not JSON", "{}", None])
def test_what_is_no_result_is_not_shown(tmp_path, capsys, text):
    path = tmp_path / "soak.json"
    if text is not None:
        path.write_text(text)

    assert main(["--show", str(path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "curve",
    [
        Curve("load", "seconds", {"ours": [(0.3, 0.1), (0.5, 0.2)]}, logarithmic=True),
        Curve("", "images", {"ours": [("a", 1.0)], "theirs": [("a", 2.0), ("b", 1.0)]}, bars=True),
    ],
)
def test_a_curve_becomes_a_picture_beside_the_result_file(curve, tmp_path):
    [path] = draw({"p99 over load, mixed": curve}, tmp_path / "2026-01-01-png.json")

    assert path == tmp_path / "2026-01-01-png-p99-over-load-mixed.png"
    with Image.open(path) as picture:
        assert len(picture.convert("RGB").getcolors(2**24)) > 10


def test_each_table_in_the_docs_is_that_of_its_result_file():
    text = (DOCS / "bench.md").read_text()
    shown = re.findall(r"<!-- shown: (\S+) -->\n(.*?)\n<!-- shown: end -->", text, re.DOTALL)

    assert shown
    for named, block in shown:
        record = json.loads((DOCS.parent / "bench" / "results" / named).read_text())
        assert block == markdown(record)
