"""Python reads this at the start of each process that has this folder in its PYTHONPATH."""

from tests.chaos.process import tamper

tamper()
