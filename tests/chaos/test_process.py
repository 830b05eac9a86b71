"""A process of the service does as it is told, and others are left alone."""

import subprocess
import sys
import time

import pytest

from tests.chaos.process import Orders, clock_file

SHOW = "import os, time; print(time.time(), os.environ['IMG2IMG_REDIS_URL'])"


@pytest.mark.parametrize(
    ("name", "off", "redis"), [("courier-2", 3600, "redis://proxy"), ("s3", 0, "redis://server")]
)
def test_it_has_its_own_clock_and_its_own_links(tmp_path, name, off, redis):
    clock_file(tmp_path, name).write_text("3600")
    orders = Orders(str(tmp_path), {"courier": {"IMG2IMG_REDIS_URL": "redis://proxy"}})
    env = orders.environment() | {
        "IMG2IMG_READY_FILE": f"/run/{name}.ready",
        "IMG2IMG_REDIS_URL": "redis://server",
    }
    shown = subprocess.run([sys.executable, "-c", SHOW], env=env, capture_output=True, check=True)
    clock, link = shown.stdout.decode().split()
    assert float(clock) == pytest.approx(time.time() + off, abs=60)
    assert link == redis
