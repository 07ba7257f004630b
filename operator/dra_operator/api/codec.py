"""JSON and plain dicts to typed objects, and back.

`decode` and `convert` ignore fields that the types do not name, as an API client must. They raise
`msgspec.ValidationError` with the path of the field (`$.spec.devices...`) for a value of the wrong type.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar

import msgspec

from dra_operator.api.quantity import Quantity

T = TypeVar("T")


def _decode_hook(type_: type, value: Any) -> Any:
    if type_ is Quantity:
        return Quantity.parse(value)
    raise NotImplementedError(f"no decoder for {type_.__name__}")


def _encode_hook(value: Any) -> Any:
    if isinstance(value, Quantity):
        return str(value)
    raise NotImplementedError(f"no encoder for {type(value).__name__}")


@cache
def _decoder(type_: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type_, dec_hook=_decode_hook)


_encoder = msgspec.json.Encoder(enc_hook=_encode_hook)


def decode(data: bytes | str | msgspec.Raw, type_: type[T]) -> T:
    """Decode JSON text into `type_`."""
    decoded: T = _decoder(type_).decode(data)
    return decoded


def convert(value: Any, type_: type[T]) -> T:
    """Turn a plain dict (from Kopf or YAML) into `type_`. Opaque parameters need `decode` (raw JSON)."""
    return decode(_encoder.encode(value), type_)


def encode(value: Any) -> bytes:
    """Compact JSON; defaults are left out."""
    return _encoder.encode(value)


def to_plain(value: Any) -> Any:
    """Dicts, lists and scalars, as a patch body needs them."""
    return msgspec.json.decode(_encoder.encode(value))
