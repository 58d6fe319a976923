"""Numbers as users give them, checked: finite, and whole ones no longer than the 64 bits that are kept of them."""

from __future__ import annotations

import math
import operator
from typing import Any, Final

from echosearch.errors import BadOption, InputError

LARGEST: Final = 2**63 - 1
"""The largest whole number that a catalog or an array can hold."""


def whole(name: str, value: Any, low: int = -LARGEST, high: int = LARGEST, error: type[InputError] = BadOption) -> int:
    """A whole number from `low` to `high`, as Python's own. The `error` names it and says what is wrong."""
    try:
        number = operator.index(value)
    except TypeError:
        raise error(f"{name} is a whole number, not {value!r}") from None
    shown = str(number) if abs(number) < 10**30 else "one of more than 30 digits"
    if not low <= number <= high:
        raise error(f"{name} is {f'at least {low}' if number < low else f'at most {high}'}, not {shown}")
    return number


def finite(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number from `low` to `high`. BadOption names it and says what is wrong."""
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise BadOption(f"{name} is a finite number, not {number}")
    if not low <= number <= high:
        raise BadOption(f"{name} is {f'at least {low:g}' if number < low else f'at most {high:g}'}, not {number:g}")
    return number
