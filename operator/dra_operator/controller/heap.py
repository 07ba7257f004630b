"""Memory after the first lists: what they were read from is given back, and what they left is not walked any more.

Python's collector would walk the mirrors over and over, each time for some tenths of a second in which nothing else
runs. They are set aside (`gc.freeze`). How often it walks all the rest depends on how much it found the last time: so
it is called once more, or else what tasks and errors leave would wait until it is a quarter of the mirrors.

What is young is walked less often than Python's default of each 700 objects: while pods come it found next to nothing
there, and took 2 % of what they cost.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

_YOUNG: Final = 5_000


def settle() -> None:
    """Once, when the mirrors are complete. Another C library than glibc has no call to give back, and none is made."""
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
    gc.freeze()
    gc.collect()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
