"""Who we are to the API server: a bearer token, or the client certificate that a connection begins with.

Both are replaced while a process runs: tokens of service accounts within the hour, certificates by whoever issues them.
Not here: where a kubeconfig keeps them (`kubeconfig.py`), and programs that are run for them (`plugins.py`).

Upstream: client-go's transport (token_source.go, cert_rotation.go).
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple, Protocol

from dra_operator.cluster.errors import NoAnswer


class Sign(NamedTuple):
    """Who we are: one that is the same after a refusal will be refused again."""

    header: str | None
    """The value of Authorization, None for none."""
    certificate: int = 0
    """How often the client certificate was replaced. Connections that began before are known by an older one."""


class Authenticator(Protocol):
    """Who knows who we are."""

    async def authorization(self, *, refused: bool) -> Sign:
        """`refused`: the server did not take what it was given; get another, if there is one."""


def bearer(token: str) -> str:
    """The header's value. Raises ValueError for a token that no header takes."""
    if not token or not fits_header(token):
        raise ValueError("it is not one line of text")
    return f"Bearer {token}"


def fits_header(value: str) -> bool:
    """Whether a value can be sent. aiohttp raises ValueError at every request otherwise."""
    return value.isprintable()


class Token:
    """A bearer token that never changes; None for a client certificate or nobody."""

    def __init__(self, token: str | None) -> None:
        self._sign = Sign(bearer(token) if token else None)

    async def authorization(self, *, refused: bool) -> Sign:
        return self._sign


class TokenFile:
    """A bearer token in a file, read again when the file changes: bound tokens are rotated.

    A file that can't be read, or holds no token, in the middle of a rotation leaves the last one in use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._value: str | None = None

    async def authorization(self, *, refused: bool) -> Sign:
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen or refused:
                self._value = bearer(self._path.read_text().strip())
                self._seen = seen
        except (OSError, ValueError) as error:
            if self._value is None:
                raise NoAnswer(f"the token file {self._path} can't be read: {error}") from error
        return Sign(self._value)


class Certificate:
    """The client certificate of connections to come."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._pair: tuple[bytes, bytes] | None = None
        self.replaced = 0
        """How often there was another one."""

    def load(self, certificate: bytes, key: bytes) -> None:
        """PEM. Raises `ssl.SSLError` for what is none, and for an encrypted key; the last one stays then."""
        if (certificate, key) == self._pair:
            return
        with NamedTemporaryFile() as pair:  # ssl loads certificates from files only
            pair.write(certificate + b"\n" + key)
            pair.flush()
            # A half of the next pair would take the place of the last: it is tried elsewhere first.
            for tls in (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self._tls):
                tls.load_cert_chain(pair.name, password="")  # nosec B106
        self.replaced += self._pair is not None
        self._pair = certificate, key

    def read(self, certificate: Path, key: Path) -> None:
        """Load what stands in these files. Raises `OSError`, too."""
        self.load(certificate.read_bytes(), key.read_bytes())


class CertificateFiles:
    """A client certificate and its key in files, read again when the server refuses them: certificates are rotated."""

    def __init__(self, loaded: Certificate, certificate: Path, key: Path) -> None:
        self._loaded = loaded
        self._files = certificate, key

    async def authorization(self, *, refused: bool) -> Sign:
        if refused:
            with suppress(OSError, ssl.SSLError):  # in the middle of a rotation: the next refusal reads them
                self._loaded.read(*self._files)
        return Sign(None, self._loaded.replaced)
