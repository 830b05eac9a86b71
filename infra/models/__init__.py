"""Weights on this disk: fetched, listed and verified by command, never by a request."""
