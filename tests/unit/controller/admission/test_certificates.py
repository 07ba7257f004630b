"""The webhook's certificates over the years, on a clock of our own: no API server meets one that it does not trust."""

from __future__ import annotations

import dataclasses
import ssl
import tempfile
from collections.abc import Iterator

import pytest
from cryptography import x509

from dra_operator.controller.admission.certificates import (
    Keyring,
    KeyringError,
    Lifetimes,
    Pair,
    from_data,
    step,
    to_data,
)

NAMES = ("dra-operator-webhook.dra-operator.svc", "127.0.0.1")
YEAR = Lifetimes(365 * 86400.0)
START = 1_800_000_000.0


def fresh(names: tuple[str, ...] = NAMES, now: float = START) -> Keyring:
    return step(None, now, names, YEAR, trusted=False)


def years(count: float, every: float = 2 * 86400.0) -> Iterator[float]:
    now = START
    while now < START + count * 365 * 86400:
        now += every
        yield now


def is_trusted(serving: Pair, bundle: bytes, now: float) -> bool:
    """Whether an API server with this bundle takes this certificate, as far as signatures and times go."""
    certificate = serving.parsed
    if not certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp():
        return False
    for authority in x509.load_pem_x509_certificates(bundle):
        if authority.subject != certificate.issuer:
            continue
        certificate.verify_directly_issued_by(authority)
        return authority.not_valid_before_utc.timestamp() <= now <= authority.not_valid_after_utc.timestamp()
    return False


def test_what_is_served_has_the_names_and_a_key_that_fits() -> None:
    ring = fresh()
    found = ring.serving.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert {str(name.value) for name in found} == set(NAMES)
    assert [str(address) for address in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    with tempfile.NamedTemporaryFile() as file:
        file.write(ring.serving.certificate + ring.serving.key)
        file.flush()
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(file.name)


def test_a_good_keyring_stays_as_it_is() -> None:
    ring = fresh()

    assert step(ring, START + 3600, NAMES, YEAR, trusted=True) is ring


def test_over_three_years_nobody_meets_a_certificate_that_he_does_not_trust() -> None:
    """A server that reads its bundle late, and a replica that serves late: both by less than a step takes."""
    ring = fresh()
    bundles, served = [ring.bundle], [ring.serving]
    authorities, serving = set(), set()
    for now in years(3):
        ring = step(ring, now, NAMES, YEAR, trusted=ring.bundle == bundles[-1])
        assert is_trusted(ring.serving, bundles[-1], now), "of before, with a new certificate"
        assert is_trusted(served[-1], ring.bundle, now), "of now, with the certificate of before"
        bundles.append(ring.bundle)
        served.append(ring.serving)
        authorities.add(ring.current.certificate)
        serving.add(ring.serving.certificate)

    assert 4 <= len(authorities) <= 6
    assert len(serving) > 2 * len(authorities)
    assert max(len(x509.load_pem_x509_certificates(bundle)) for bundle in bundles) == 2
    assert len(x509.load_pem_x509_certificates(ring.bundle)) == 1


def test_an_authority_that_was_not_published_never_signs() -> None:
    ring = fresh()
    first = ring.current
    for now in years(0.99):
        ring = step(ring, now, NAMES, YEAR, trusted=False)

    assert ring.next is not None
    assert ring.current == first


def test_an_operator_that_was_off_for_years_begins_anew() -> None:
    old = fresh()
    now = START + 5 * 365 * 86400

    ring = step(old, now, NAMES, YEAR, trusted=True)

    assert ring.current != old.current
    assert is_trusted(ring.serving, ring.bundle, now)


@pytest.mark.parametrize("ahead", [86400.0, 300 * 86400.0, 3 * 365 * 86400.0], ids=["a day", "most of a year", "years"])
@pytest.mark.parametrize("phase", ["first", "later"])
def test_what_a_clock_that_was_ahead_has_made_is_made_anew(phase: str, ahead: float) -> None:
    ring = None if phase == "first" else fresh()
    for now in (START + ahead, START + ahead + 3600):
        ring = step(ring, now, NAMES, YEAR, trusted=True)
    assert ring is not None

    ring = step(ring, START + 3600, NAMES, YEAR, trusted=True)

    assert is_trusted(ring.serving, ring.bundle, START + 3600)


def test_a_replica_at_another_address_adds_its_name_and_takes_none_away() -> None:
    """Otherwise two of them would write the Secret in turns for ever."""
    first = fresh(("service", "10.0.0.1"))

    second = step(first, START + 1, ("service", "10.0.0.2"), YEAR, trusted=True)

    assert second.current == first.current
    assert step(second, START + 2, ("service", "10.0.0.1"), YEAR, trusted=True) is second
    assert step(second, START + 2, ("service", "10.0.0.2"), YEAR, trusted=True) is second


def test_addresses_of_replicas_that_are_long_gone_drop_out() -> None:
    ring = fresh(("service", "10.0.0.1"))
    for last in range(2, 200):
        ring = step(ring, START + last, ("service", f"10.0.0.{last}"), YEAR, trusted=True)

    found = ring.serving.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    names = [str(name.value) for name in found]
    assert len(names) == 32
    assert names[:3] == ["service", "10.0.0.199", "10.0.0.198"]


@pytest.mark.parametrize("phase", ["first", "announced", "switched"])
def test_a_secret_holds_all_of_it(phase: str) -> None:
    ring = fresh()
    now = START + 300 * 86400
    if phase != "first":
        ring = step(ring, now, NAMES, YEAR, trusted=True)
    if phase == "switched":
        ring = step(ring, now + 301, NAMES, YEAR, trusted=True)

    assert from_data(to_data(ring)) == ring


def test_an_empty_secret_holds_nothing() -> None:
    assert from_data({}) is None
    assert from_data(dict.fromkeys(to_data(fresh()), b"")) is None


@pytest.mark.parametrize("name", ["ca.crt", "ca.key", "tls.crt", "tls.key", "changed"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe"])
def test_a_secret_that_somebody_spoilt_is_an_error(name: str, content: bytes) -> None:
    with pytest.raises(KeyringError, match="no certificates of ours"):
        from_data(to_data(fresh()) | {name: content})


def test_a_key_of_another_certificate_is_an_error() -> None:
    with pytest.raises(KeyringError, match="does not belong"):
        from_data(to_data(fresh()) | {"tls.key": fresh().serving.key})


def test_a_certificate_of_another_authority_is_replaced() -> None:
    ring = dataclasses.replace(fresh(), serving=fresh().serving)

    after = step(ring, START + 1, NAMES, YEAR, trusted=True)

    assert after.current == ring.current
    assert is_trusted(after.serving, after.bundle, START + 1)
