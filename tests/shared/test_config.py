from datetime import timedelta

import pytest
from pydantic import ValidationError

from shared.config import Settings


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("0.5", 0.5), ("PT10S", 10), ("00:00:10", 10)]
)
def test_durations_are_seconds_or_iso_8601(monkeypatch, text, seconds):
    monkeypatch.setenv("IMG2IMG_LEASE", text)

    assert Settings().lease == timedelta(seconds=seconds)


def test_a_process_with_wrong_settings_ends_with_a_sentence_for_each(monkeypatch):
    monkeypatch.setenv("IMG2IMG_OUTPUT_LINKS", "foo")
    monkeypatch.setenv("IMG2IMG_LEASE", "soon")

    with pytest.raises(SystemExit, match=r"(?s)IMG2IMG_OUTPUT_LINKS: .*IMG2IMG_LEASE: "):
        Settings.load()


def test_another_duration_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("IMG2IMG_LEASE", "soon")

    with pytest.raises(ValidationError, match="lease"):
        Settings()
