"""Room for JSON that is nested as deep as the API server lets anyone write it.

A claim, a template and a driver's status carry parameters of any form, up to 10 KiB: five thousand brackets, one in the
other. Every reader of JSON in Python counts levels against the limit of Python's own stack, 1,000 unless raised, also
for text that it only skips. One such claim of one tenant would end every watch that meets it, at every start.

Upstream: `OpaqueParametersMaxLength` of k8s.io/api/resource/v1; the API server's own reader takes 10,000 levels.
"""

from __future__ import annotations

import sys
from typing import Final

_FRAMES: Final = 20_000
"""Levels of 10 KiB, two frames each where Python itself walks them, and more than enough for who calls."""


def allow_deep_json() -> None:
    """For the whole process, for good: at its start, before the first watch."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _FRAMES))
