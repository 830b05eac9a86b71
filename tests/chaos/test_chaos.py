"""A minute of chaos, always the same one; and builds that are broken on purpose do not survive it.

`make chaos SEED=n` makes others, `make chaos BREAK=name` tries the other broken builds.
"""

import pytest

from tests.chaos.run import run

SEED = 20


def test_a_minute_of_chaos_loses_doubles_and_mixes_up_nothing(tmp_path):
    report = run(tmp_path, seed=SEED, seconds=60)
    assert not report.violations, str(report)
    assert report.counts["succeeded"] > 10
    assert report.counts["webhooks"] > 10


@pytest.mark.parametrize(
    ("broken", "invariant"), [("outbox", "webhooks_come"), ("upload", "success_has_its_images")]
)
def test_a_broken_build_is_found_out(tmp_path, broken, invariant):
    report = run(tmp_path, seed=SEED, seconds=6, broken=broken)
    assert invariant in {violation.partition(":")[0] for violation in report.violations}, str(
        report
    )
