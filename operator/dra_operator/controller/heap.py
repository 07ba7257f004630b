"""Memory that the C library keeps after the first lists: what they were read from, no longer used by anyone."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Have glibc return what is free to the system. Another C library has no such call, and none is made."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
