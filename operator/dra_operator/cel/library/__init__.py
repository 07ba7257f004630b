"""The functions that selectors may call, one concern a module, in the API server's versions of the libraries.

Operators are declared in `standard.py` and evaluated by `arithmetic.py` and the evaluator. Everything here is pure.
"""

from __future__ import annotations

from typing import Final

from dra_operator.cel.functions import Library
from dra_operator.cel.library import (
    authz,
    cidr,
    conversions,
    formats,
    formatting,
    ip,
    lists,
    optionals,
    quantity,
    regex,
    semver,
    sets,
    standard,
    strings,
    time,
    url,
)

LIBRARIES: Final[tuple[Library, ...]] = (
    standard.LIBRARY,
    conversions.LIBRARY,
    time.LIBRARY,
    optionals.LIBRARY,
    lists.LIBRARY,
    strings.LIBRARY,
    formatting.LIBRARY,
    sets.LIBRARY,
    regex.LIBRARY,
    quantity.LIBRARY,
    semver.LIBRARY,
    url.LIBRARY,
    ip.LIBRARY,
    cidr.LIBRARY,
    formats.LIBRARY,
    authz.LIBRARY,
)
