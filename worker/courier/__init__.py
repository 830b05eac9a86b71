"""Delivers webhooks from the outbox and brings back lost jobs; many replicas are harmless."""
