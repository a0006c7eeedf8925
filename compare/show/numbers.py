"""How a number is written where it has to fit a column."""

from __future__ import annotations

import math

MANY = 1e6  # from here on a fixed number of decimals takes more room than it is worth


def fixed(value: float, decimals: int = 5) -> str:
    """With that many decimals; as a power of ten where there would be more than six digits before them."""
    return f"{value:.{decimals}{'e' if MANY <= abs(value) < math.inf else 'f'}}"
