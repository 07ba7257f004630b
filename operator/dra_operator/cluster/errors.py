"""What can come of a request to the API server other than a success, for who has to decide by it.

Upstream: `metav1.Status`, apimachinery's api/errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from dra_operator.api.codec import decode
from dra_operator.api.meta import Struct
from dra_operator.cluster.pace import LATER_MAX

_NOT_FOUND: Final = 404


class ApiError(Exception):
    """The answer was not a success: what a caller decides on, as `metav1.Status` has it.

    `by_api`: it was a Status. The API itself said so, or a tenant's webhook through it, which leaves out what it likes,
    a reason for one. Anything else comes from before the API. `retry_after` is `LATER_MAX` at most.

    `about`: the name of the object that it is about, where it says so.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        retry_after: float | None = None,
        *,
        by_api: bool = True,
        about: str = "",
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.by_api = by_api
        self.about = about

    @property
    def is_gone(self) -> bool:
        """Whether the object that was asked for does not exist.

        Any other 404 says nothing of it: the resource is not served at the moment (its definition or its group is
        away, which the API server may say in a Status, too), or a proxy has lost the way.
        """
        return self.status == _NOT_FOUND and self.by_api and bool(self.about)


class NoAnswer(Exception):
    """The connection failed or the time was up; whether the request took effect is not known."""


class NotSent(Exception):
    """The write barrier is down: nothing was sent."""


class GarbledWatch(Exception):
    """What the watch sends is no watch event; from here on its order can't be relied on."""


class _StatusDetails(Struct, frozen=True):
    name: str = ""
    retry_after_seconds: int = 0


class _Status(Struct, frozen=True):
    kind: str = ""
    message: str = ""
    reason: str = ""
    details: _StatusDetails | None = None


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error that an answer carries; a body that is no Status is quoted in part."""
    try:
        said = decode(body, _Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Status(message=body[:200].decode(errors="replace").strip())
    header = headers.get("Retry-After", "")
    later = min(float(header), LATER_MAX) if header.isdecimal() else None
    if later is None and said.details is not None and said.details.retry_after_seconds > 0:
        later = float(min(said.details.retry_after_seconds, LATER_MAX))
    about = said.details.name if said.details is not None else ""
    return ApiError(status, said.reason, said.message, later, by_api=said.kind == "Status", about=about)
