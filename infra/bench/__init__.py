"""Benchmarks: everything compared runs in one process, in turns, and is measured, never quoted."""
