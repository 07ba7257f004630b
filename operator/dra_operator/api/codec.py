"""JSON and plain dicts to typed objects, and back.

`decode` and `convert` ignore fields that the types do not name, as an API client must. They raise
`msgspec.ValidationError` with the path of the field (`$.spec.devices...`) for a value of the wrong type, and its base
`msgspec.DecodeError` for text that is no JSON, or nested deeper than the API server allows.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from dra_operator.api.depth import allow_deep_json
from dra_operator.api.quantity import Quantity

T = TypeVar("T")


def _decode_hook(type_: type, value: Any) -> Any:
    if type_ is Quantity:  # custom resources keep the spelling that they came with
        return Quantity.from_json(value)
    raise NotImplementedError(f"no decoder for {type_.__name__}")


def _encode_hook(value: Any) -> Any:
    if isinstance(value, Quantity):
        return str(value)
    raise NotImplementedError(f"no encoder for {type(value).__name__}")


_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_encoder = msgspec.json.Encoder(enc_hook=_encode_hook)


def decode(data: bytes | str | msgspec.Raw, type_: type[T]) -> T:
    """Decode JSON text into `type_`."""
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders[type_] = msgspec.json.Decoder(type_, dec_hook=_decode_hook)
    try:
        decoded: T = decoder.decode(data)
    except RecursionError:
        allow_deep_json()
        decoded = _decode_deep(decoder, data)
    return decoded


def _decode_deep(decoder: msgspec.json.Decoder[T], data: bytes | str | msgspec.Raw) -> T:
    try:
        return decoder.decode(data)
    except RecursionError as error:
        raise msgspec.DecodeError("nested too deep") from error


def convert(value: Any, type_: type[T]) -> T:
    """Turn a plain dict (from Kopf or YAML) into `type_`. Opaque parameters need `decode` (raw JSON)."""
    return decode(_encoder.encode(value), type_)


def encode(value: Any) -> bytes:
    """Compact JSON; defaults are left out."""
    return _encoder.encode(value)


def to_plain(value: Any) -> Any:
    """Dicts, lists and scalars, as a patch body needs them."""
    return msgspec.json.decode(_encoder.encode(value))
