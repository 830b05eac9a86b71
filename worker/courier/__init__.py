"""Delivers webhooks, brings back lost jobs, sweeps the bucket; many replicas are harmless."""
