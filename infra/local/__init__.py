"""The whole service on one machine, from wheels: Valkey, S3, API, GPU worker and courier."""

from infra.local.keeper import StackError
from infra.local.stack import Stack

__all__ = ["Stack", "StackError"]
