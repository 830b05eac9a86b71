"""Regular expressions for numbers and words that come as text."""

import re
from collections.abc import Iterable


def any_of(words: Iterable[str]) -> str:
    """One of these, in upper or lower case."""
    return "|".join("".join(map(_any_case, word)) for word in words)


def _any_case(letter: str) -> str:
    both = {letter.lower(), letter.upper()}
    return f"[{''.join(sorted(both))}]" if len(both) > 1 else re.escape(letter)


def whole_text(low: int, high: int | None, multiple: int = 1) -> str:
    """A whole number in these bounds (from 0 on), as `api.requests.Whole` reads it."""
    if multiple > 1 and high is not None:
        digits = "|".join(str(number) for number in range(low, high + 1) if number % multiple == 0)
    else:
        digits = _from(low) if high is None else _between(low, high)
    return rf"^ *\+?0*({digits})(\.0+)? *$"


def decimal_text(low: int, high: int) -> str:
    """A number in these bounds (from 0 on), as `api.requests.Decimal` reads it."""
    inside = rf"0*({_between(low, high - 1)})(\.[0-9]*)?|0*{high}(\.0*)?"
    fraction = "" if low else r"|\.[0-9]+"
    return rf"^ *\+?({inside}{fraction}) *$"


def _from(low: int) -> str:
    digits = len(str(low))
    return rf"{_between(low, 10**digits - 1)}|[1-9][0-9]{{{digits},15}}"


def _between(low: int, high: int) -> str:
    shorter = 10 ** len(str(low)) - 1
    if shorter < high:
        return f"{_between(low, shorter)}|{_between(shorter + 1, high)}"
    return _same_length(str(low), str(high))


def _same_length(low: str, high: str) -> str:
    rest = len(low) - 1
    if low == high:
        return low
    if not rest:
        return f"[{low}-{high}]"
    if low == "0" * len(low) and high == "9" * len(high):
        return f"[0-9]{{{len(low)}}}"
    if low[0] == high[0]:
        return f"{low[0]}({_same_length(low[1:], high[1:])})"
    first, last = int(low[0]), int(high[0])
    parts = [f"{first}({_same_length(low[1:], '9' * rest)})"]
    if last - first > 1:
        parts.append(f"{_same_length(str(first + 1), str(last - 1))}[0-9]{{{rest}}}")
    parts.append(f"{last}({_same_length('0' * rest, high[1:])})")
    return "|".join(parts)
