"""Selectors in the Common Expression Language, as the API server and the scheduler understand them.

parse (`parser.py`, `macros.py`) -> check (`check.py`, `literals.py`) -> evaluate (`evaluate.py`, `library/`).
Start at `selector.py`.
"""

from dra_operator.cel.budget import COST_LIMIT
from dra_operator.cel.device import AttributeValue, DeviceView
from dra_operator.cel.environment import STORED, Features
from dra_operator.cel.errors import CELCompileError, CELRuntimeError
from dra_operator.cel.selector import MAX_LENGTH, Selector, compile_selector

__all__ = [
    "COST_LIMIT",
    "MAX_LENGTH",
    "STORED",
    "AttributeValue",
    "CELCompileError",
    "CELRuntimeError",
    "DeviceView",
    "Features",
    "Selector",
    "compile_selector",
]
