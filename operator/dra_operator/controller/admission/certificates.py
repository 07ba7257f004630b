"""The certificates of the admission webhook: an authority of our own, and the certificate that all replicas serve.

A `Keyring` is everything there is, as one Secret holds it. `step` says what it should be next: a pure function of the
keyring and the time, so that every replica comes to the same answer and whoever writes first has done it for all.

An authority is replaced in three steps, so that no API server ever meets a certificate that it does not trust yet:
1. announce: the next authority is in the bundle that API servers trust, the old one still signs;
2. switch: once the bundle is known to be published, and a while has passed, the next one signs what is served;
3. retire: after the same while the old one leaves the bundle.

Invariant: what is served is signed by an authority of the bundle, and has all the names that were asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DEFAULT_LIFETIME: Final = 365 * 86400.0
_NAMES_MAX: Final = 32
"""In one certificate; addresses of replicas that are long gone drop out."""
_RENEWED_AT: Final = 2 / 3
"""The part of its life after which a certificate is replaced."""
_SERVING_PART: Final = 1 / 4
_ANNOUNCE_PART: Final = 1 / 20
_ANNOUNCE_MAX: Final = 300.0
_SKEW_PART: Final = 1 / 10
_SKEW_MAX: Final = 3600.0


class KeyringError(ValueError):
    """The Secret holds no usable keyring; the message says why."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """All times follow from how long an authority lives. Seconds."""

    authority: float = DEFAULT_LIFETIME

    @property
    def serving(self) -> float:
        return self.authority * _SERVING_PART

    @property
    def announce(self) -> float:
        """Between the steps of a replacement: what API servers and other replicas have to notice it."""
        return min(self.authority * _ANNOUNCE_PART, _ANNOUNCE_MAX)

    @property
    def skew(self) -> float:
        """How far certificates begin in the past, for clocks that go after ours."""
        return min(self.authority * _SKEW_PART, _SKEW_MAX)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    @property
    def parsed(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)


@dataclass(frozen=True, slots=True)
class Keyring:
    """See the module. `changed` is when the last step of a replacement was taken."""

    current: Pair
    serving: Pair
    changed: float
    next: Pair | None = None
    previous: bytes = b""

    @property
    def bundle(self) -> bytes:
        """What API servers have to trust."""
        return self.current.certificate + (self.next.certificate if self.next is not None else b"") + self.previous


# --- as a Secret -----------------------------------------------------------------------------------------------------

_FILES: Final = ("ca.crt", "ca.key", "tls.crt", "tls.key", "next-ca.crt", "next-ca.key", "previous-ca.crt", "changed")


def to_data(ring: Keyring) -> dict[str, bytes]:
    """The Secret's data. What is empty is there, too: a write leaves nothing of the keyring before."""
    after = ring.next or Pair(b"", b"")
    changed = datetime.fromtimestamp(ring.changed, UTC).isoformat().encode()
    content = (
        *(ring.current.certificate, ring.current.key, ring.serving.certificate, ring.serving.key),
        *(after.certificate, after.key, ring.previous, changed),
    )
    return dict(zip(_FILES, content, strict=True))


def from_data(data: Mapping[str, bytes]) -> Keyring | None:
    """The keyring in a Secret's data; None if it is empty. Raises `KeyringError`."""
    if not any(data.get(name) for name in _FILES):
        return None
    after = Pair(data.get("next-ca.crt", b""), data.get("next-ca.key", b""))
    try:
        changed = datetime.fromisoformat(data.get("changed", b"").decode()).timestamp()
        ring = Keyring(
            current=_checked(Pair(data.get("ca.crt", b""), data.get("ca.key", b""))),
            serving=_checked(Pair(data.get("tls.crt", b""), data.get("tls.key", b""))),
            changed=changed,
            next=_checked(after) if after.certificate else None,
            previous=data.get("previous-ca.crt", b""),
        )
        if ring.previous:
            x509.load_pem_x509_certificate(ring.previous)
    except (ValueError, TypeError) as error:
        raise KeyringError(f"the Secret holds no certificates of ours: {error}") from error
    return ring


def _checked(pair: Pair) -> Pair:
    key = load_pem_private_key(pair.key, None).public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if pair.parsed.public_key().public_bytes(*form) != key.public_bytes(*form):
        raise ValueError("a key does not belong to its certificate")
    return pair


# --- steps -----------------------------------------------------------------------------------------------------------


def step(ring: Keyring | None, now: float, names: Iterable[str], lifetimes: Lifetimes, *, trusted: bool) -> Keyring:
    """The keyring as it should be now; the same object if it is. `trusted`: the bundle is known to be published."""
    wanted = tuple(dict.fromkeys(names))
    if ring is None or not _is_in_force(ring.current, now):
        authority = _new_authority(now, lifetimes)
        return Keyring(authority, _new_serving(authority, wanted, now, lifetimes), now)
    ring = _step_authority(ring, now, lifetimes, trusted=trusted)
    if _is_good(ring, wanted, now):
        return ring
    everyone = tuple(dict.fromkeys((*wanted, *_names_of(ring.serving))))  # of replicas at other addresses, too
    return replace(ring, serving=_new_serving(ring.current, everyone[:_NAMES_MAX], now, lifetimes))


def _step_authority(ring: Keyring, now: float, lifetimes: Lifetimes, *, trusted: bool) -> Keyring:
    waited = now - ring.changed >= lifetimes.announce
    if ring.next is not None:
        if not (waited and trusted):
            return ring
        return replace(ring, current=ring.next, next=None, previous=ring.current.certificate, changed=now)
    if ring.previous:
        return replace(ring, previous=b"", changed=now) if waited else ring
    if _is_old(ring.current, now):
        return replace(ring, next=_new_authority(now, lifetimes), changed=now)
    return ring


def _is_good(ring: Keyring, names: tuple[str, ...], now: float) -> bool:
    try:
        ring.serving.parsed.verify_directly_issued_by(ring.current.parsed)
    except (ValueError, TypeError, InvalidSignature):
        return False
    in_time = _is_in_force(ring.serving, now) and not _is_old(ring.serving, now)
    return set(names).issubset(_names_of(ring.serving)) and in_time


def _left(pair: Pair, now: float) -> float:
    return pair.parsed.not_valid_after_utc.timestamp() - now


def _is_in_force(pair: Pair, now: float) -> bool:
    """Not yet is no better than no more: a clock that was ahead makes certificates that API servers refuse."""
    return pair.parsed.not_valid_before_utc.timestamp() <= now < pair.parsed.not_valid_after_utc.timestamp()


def _is_old(pair: Pair, now: float) -> bool:
    begin, end = pair.parsed.not_valid_before_utc.timestamp(), pair.parsed.not_valid_after_utc.timestamp()
    return now >= begin + (end - begin) * _RENEWED_AT


def _names_of(pair: Pair) -> tuple[str, ...]:
    try:
        found = pair.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


# --- making them -----------------------------------------------------------------------------------------------------


def _new_authority(now: float, lifetimes: Lifetimes) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _named(f"dra-operator webhook authority {x509.random_serial_number():x}"[:64])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(name, name, key, now, lifetimes.authority, lifetimes.skew)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def _new_serving(authority: Pair, names: tuple[str, ...], now: float, lifetimes: Lifetimes) -> Pair:
    signer = load_pem_private_key(authority.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = authority.parsed
    key = ec.generate_private_key(ec.SECP256R1())
    seconds = min(lifetimes.serving, _left(authority, now))
    issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    certificate = (
        _builder(_named(names[0][:64]), issuer.subject, key, now, seconds, lifetimes.skew)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer_id, critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _pair(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: float, seconds: float, skew: float
) -> x509.CertificateBuilder:
    begin = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - timedelta(seconds=skew))
        .not_valid_after(begin + timedelta(seconds=seconds))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), pem)
