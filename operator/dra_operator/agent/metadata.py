"""What a container may read about its devices: one JSON file for each request of a claim, mounted where upstream's
drivers mount theirs, in upstream's form. Under /var/run/kubernetes.io/dra-device-attributes a program finds

    resourceclaimtemplates/<claim's name in the pod>/<request>/<driver>-metadata.json
    resourceclaims/<claim's name>/<request>/<driver>-metadata.json

the latter where the pod names a claim itself. On the node the files lie side by side, named by the claim's UID and the
request, and go with the claim: a folder for each claim would cost as much again as all else that is written for it.

Upstream: KEP-5304, k8s.io/dynamic-resource-allocation/api/metadata v1beta1 and `metadataWriter` in kubeletplugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dra_operator.agent.allocated import AllocatedDevice
from dra_operator.agent.cdi import is_safe_uid
from dra_operator.agent.disk import READABLE, Disk
from dra_operator.agent.edits import Mount
from dra_operator.api.codec import encode
from dra_operator.api.meta import ObjectMeta, Struct, Uid
from dra_operator.api.names import POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.resource import BasicDevice, DeviceAttribute, ResourceClaim

_API_VERSION: Final = "metadata.resource.k8s.io/v1beta1"
_CONTAINER_FOLDER: Final = Path("/var/run/kubernetes.io/dra-device-attributes")
_OPTIONS: Final = ("ro", "bind")
_BETWEEN: Final = "_"
"""Neither a UID nor a request can have it."""
_SUFFIX: Final = ".json"


class _Device(Struct, frozen=True, kw_only=True):
    driver: str
    pool: str
    name: str
    attributes: dict[str, DeviceAttribute] | None = None


class _Request(Struct, frozen=True, kw_only=True):
    name: str
    devices: tuple[_Device, ...]


class _DeviceMetadata(Struct, frozen=True, kw_only=True):
    kind: str
    api_version: str
    metadata: ObjectMeta
    pod_claim_name: str | None = None
    requests: tuple[_Request, ...]


class MetadataFolder:
    """The files of one driver. Methods that write raise OSError."""

    def __init__(self, disk: Disk, folder: Path, driver: str) -> None:
        self._disk = disk
        self._folder = folder
        self._driver = driver

    def mounts(self, claim: ResourceClaim, allocated: AllocatedDevice) -> tuple[Mount, ...]:
        """One for each request that the device was given to."""
        pod_claim = claim.metadata.annotation(POD_CLAIM_NAME_ANNOTATION)
        place = ("resourceclaimtemplates", pod_claim) if pod_claim else ("resourceclaims", claim.metadata.name)
        inside = _CONTAINER_FOLDER.joinpath(*place)
        return tuple(
            Mount(
                host_path=str(self._path(claim.uid, request)),
                container_path=str(inside / request / f"{self._driver}-metadata.json"),
                options=_OPTIONS,
            )
            for request in allocated.requests
        )

    def write(
        self, claim: ResourceClaim, allocated: tuple[AllocatedDevice, ...], devices: Mapping[str, BasicDevice]
    ) -> None:
        by_request: dict[str, list[_Device]] = {}
        for one in allocated:
            facts = _Device(
                driver=self._driver, pool=one.pool, name=one.device, attributes=devices[one.device].attributes
            )
            for request in one.requests:
                by_request.setdefault(request, []).append(facts)
        metadata = ObjectMeta(name=claim.metadata.name, namespace=claim.metadata.namespace, uid=claim.uid, generation=1)
        self._disk.make_folder(self._folder)
        for request, given in by_request.items():
            content = _DeviceMetadata(
                kind="DeviceMetadata",
                api_version=_API_VERSION,
                metadata=metadata,
                pod_claim_name=claim.metadata.annotation(POD_CLAIM_NAME_ANNOTATION),
                requests=(_Request(name=request, devices=tuple(given)),),
            )
            path = self._path(claim.uid, request)
            self._disk.write(path, encode(content) + b"\n", mode=READABLE)

    def remove(self, uid: Uid) -> None:
        """The claim's files; and its folder, if an agent of before has prepared it."""
        if is_safe_uid(uid):
            for path in sorted(self._folder.glob(f"{uid}{_BETWEEN}*{_SUFFIX}")):
                self._disk.remove(path)
            self._disk.remove_folder(self._folder / uid)

    def uids(self) -> list[Uid]:
        """The claims that have files, or a folder. What is not named as we name them is somebody else's."""
        names = map(_claim_of, self._folder.glob("*"))
        return sorted({Uid(name) for name in names if is_safe_uid(name)})

    def sweep(self) -> None:
        """Remove what interrupted writes have left."""
        self._disk.sweep(self._folder)

    def _path(self, uid: Uid, request: str) -> Path:
        return self._folder / f"{uid}{_BETWEEN}{request}{_SUFFIX}"


def _claim_of(path: Path) -> str:
    """The UID that the path should be named by; empty for what is not ours."""
    if path.is_dir():
        return "" if path.is_symlink() else path.name
    uid, between, _ = path.name.partition(_BETWEEN)
    return uid if between and path.suffix == _SUFFIX else ""
