"""What differs between the public API's versions: a table of values, not a tree of ifs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version's ways."""

    name: str
    fetch_path: str
    """Where a result is fetched; `{id}` is the job's."""


V3 = Dialect(name="v3", fetch_path="/api/v3/fetch/{id}")

DIALECTS = {dialect.name: dialect for dialect in (V3,)}
