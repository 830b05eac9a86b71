"""Schemathesis against the whole service: what /openapi.json says holds, and nothing else does."""
