"""Student's t distribution, of which intervals from few numbers are made."""

from __future__ import annotations

# 97.5 % quantiles for 1, 2, ... degrees of freedom.
_EXACT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
_NORMAL = 1.959964

Z_95 = 1.96
"""Half the 95 % interval of a normal number over its standard deviation."""


def t_95(degrees: int) -> float:
    """Half the 95 % interval of a number over its standard deviation, which so many degrees of freedom tell.

    From tables up to 9 degrees of freedom, by the Cornish-Fisher expansion beyond; within 0.05 %. Raises `ValueError`
    where there is no degree of freedom, and so no spread.
    """
    if degrees < 1:
        raise ValueError(f"a spread needs at least 1 degree of freedom, not {degrees}")
    if degrees <= len(_EXACT):
        return _EXACT[degrees - 1]
    z = _NORMAL
    first = (z**3 + z) / (4 * degrees)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return z + first + second + third
