"""Delivers webhooks from the outbox and returns the jobs of lost workers; many replicas are harmless."""
