"""What a reconciler is asked to look at: a pod by UID, or a claim by namespace and name."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from dra_operator.api.meta import ObjectKey, Uid


class PodRef(NamedTuple):
    """A pod, by UID: a replacement under the same name is another pod."""

    uid: Uid


class ClaimRef(NamedTuple):
    """A claim, by key: whatever holds that name now."""

    key: ObjectKey


Ref: TypeAlias = PodRef | ClaimRef


def in_order(ref: Ref) -> tuple[str, str]:
    """To sort by: sets have no order, and a replayed run needs one."""
    return ("", ref.uid) if isinstance(ref, PodRef) else ref.key
