"""Whether two values mean the same to the API: nothing and an empty list are alike, and so are `1` and `1000m`.

Upstream: `Semantic.DeepEqual` of k8s.io/apimachinery/pkg/api/equality.
"""

from __future__ import annotations

import msgspec

from dra_operator.validation.shapes import shape_of


def same(a: object, b: object) -> bool:
    """Whether `a` and `b` are semantically equal."""
    if isinstance(a, tuple | dict | None) and isinstance(b, tuple | dict | None) and not a and not b:
        return True
    if isinstance(a, msgspec.Struct) and type(a) is type(b) and hasattr(type(a), "tagged_internally"):
        return all(same(getattr(a, each.attribute), getattr(b, each.attribute)) for each in shape_of(type(a)).fields)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    return type(a) is type(b) and a == b
