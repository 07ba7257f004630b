"""CDI specs: one file a claim, from which the container runtime takes what a container gets.

A device of a spec is named by the claim's UID and the device, never reused: runtimes cache specs and reload them only
for a name that they do not know. File names are made of the driver and the UID alone, and a UID that could leave the
folder has no file.

Each spec carries its claim's record as an annotation, and the boot: if the checkpoint is lost, the specs on disk tell
which claims were prepared, without an API server and for claims that are deleted by now.

Upstream: the Container Device Interface 0.6 (the first with annotations). Not here: what a device needs
(`injection.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from dra_operator.agent.checkpoint import PreparedClaim, PreparedDevice
from dra_operator.agent.disk import Disk
from dra_operator.agent.edits import ContainerEdits
from dra_operator.api.codec import decode, encode
from dra_operator.api.meta import Struct, Uid
from dra_operator.api.names import DOMAIN

CDI_VERSION: Final = "0.6.0"
CLASS: Final = "claim"
_CLAIM_ANNOTATION: Final = f"{DOMAIN}/claim"
_BOOT_ANNOTATION: Final = f"{DOMAIN}/boot-id"
_SAFE_UID: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,62}[A-Za-z0-9])?")


class _Device(Struct, frozen=True, kw_only=True):
    name: str
    container_edits: ContainerEdits = msgspec.field(default=ContainerEdits())


class _Spec(Struct, frozen=True, kw_only=True):
    cdi_version: str
    kind: str
    annotations: dict[str, str]
    devices: tuple[_Device, ...]


def is_safe_uid(uid: str) -> bool:
    return _SAFE_UID.fullmatch(uid) is not None


class CdiFolder:
    """The specs of one driver. Methods that write raise OSError."""

    def __init__(self, disk: Disk, folder: Path, driver: str, boot_id: str) -> None:
        self.folder: Final = folder
        self._disk = disk
        self._kind = f"{driver}/{CLASS}"
        self._prefix = f"{driver}-{CLASS}_"
        self._boot_id = boot_id

    def qualified(self, device: PreparedDevice) -> str:
        """The name by which a runtime finds the device."""
        return f"{self._kind}={device.cdi_name}"

    def holds(self, claim: PreparedClaim) -> bool:
        """Whether the claim's spec is there, as it should be."""
        try:
            return self._path(claim.uid).read_bytes() == self._encode(claim)
        except OSError:
            return False

    def write(self, claim: PreparedClaim) -> None:
        self._disk.make_folder(self.folder)
        self._disk.write(self._path(claim.uid), self._encode(claim))

    def remove(self, uid: Uid) -> None:
        """Nothing if there is none."""
        if is_safe_uid(uid):
            self._disk.remove(self._path(uid))

    def uids(self) -> list[Uid]:
        """The claims that have a spec."""
        paths = sorted(self.folder.glob(f"{self._prefix}*.json"))
        return [Uid(path.name.removeprefix(self._prefix).removesuffix(".json")) for path in paths]

    def recorded_claims(self) -> Iterator[PreparedClaim]:
        """What the specs of this boot say of their claims; one that cannot be read says nothing."""
        for uid in self.uids():
            try:
                spec = decode(self._path(uid).read_bytes(), _Spec)
                claim = decode(spec.annotations[_CLAIM_ANNOTATION], PreparedClaim)
            except (OSError, KeyError, msgspec.MsgspecError, UnicodeDecodeError):
                continue
            if spec.annotations.get(_BOOT_ANNOTATION) == self._boot_id and claim.uid == uid:
                edits = {device.name: device.container_edits for device in spec.devices}
                yield msgspec.structs.replace(
                    claim,
                    devices=tuple(
                        msgspec.structs.replace(device, edits=edits.get(device.cdi_name, ContainerEdits()))
                        for device in claim.devices
                    ),
                )

    def sweep(self) -> None:
        """Remove what interrupted writes have left."""
        for path in sorted(self.folder.glob(f".{self._prefix}*.tmp")):
            self._disk.remove(path)

    def _path(self, uid: Uid) -> Path:
        return self.folder / f"{self._prefix}{uid}.json"

    def _encode(self, claim: PreparedClaim) -> bytes:
        bare = tuple(msgspec.structs.replace(device, edits=ContainerEdits()) for device in claim.devices)
        record = msgspec.structs.replace(claim, devices=bare, state="completed")
        return encode(
            _Spec(
                cdi_version=CDI_VERSION,
                kind=self._kind,
                annotations={_BOOT_ANNOTATION: self._boot_id, _CLAIM_ANNOTATION: encode(record).decode()},
                devices=tuple(_Device(name=device.cdi_name, container_edits=device.edits) for device in claim.devices),
            )
        )
