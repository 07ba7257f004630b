"""Prepares claims on this node and undoes it: what the kubelet's calls come down to, on disk.

One claim's way: refuse it if it is not ours to prepare → write it down as started → its metadata files and CDI spec →
write it down as completed. Back: write it down as started, remove spec and files, forget it. Whoever dies in between
leaves nothing that counts: only a completed claim is answered for, the rest is taken back by who finds it in the file.
A device that is made for a claim, a partition, is made in between and undone with it.

Invariants: a device is prepared for one claim at a time (not admin access, not shares); a completed claim has its CDI
spec; no spec is there without a completed claim, but while a call is under way.

This is the last line of defence: an allocator's mistake, or a claim that was allocated anew behind a running container,
must end in a pod that does not start, never in a GPU that two use.

All calls are synchronous and go one at a time, also between two agents of a node (`journal.py`).

Upstream: `DRAPlugin` and `RollingUpdate` of k8s.io/dynamic-resource-allocation/kubeletplugin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import structlog
from msgspec import structs

from dra_operator.agent.allocated import AllocatedDevice, allocated_devices
from dra_operator.agent.cdi import CdiFolder, is_safe_uid
from dra_operator.agent.checkpoint import COMPLETED, STARTED, PreparedClaim, PreparedDevice
from dra_operator.agent.config import ConfigError, RequestedConfig, env_of, read_configs
from dra_operator.agent.disk import Disk
from dra_operator.agent.edits import ContainerEdits
from dra_operator.agent.injection import Injector
from dra_operator.agent.journal import Journal
from dra_operator.agent.metadata import MetadataFolder
from dra_operator.api.meta import Uid
from dra_operator.api.names import POD_CLAIM_NAME_ANNOTATION
from dra_operator.api.resource import BasicDevice, ResourceClaim

log = structlog.get_logger()

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class NotPreparedError(Exception):
    """Why a claim was not prepared, or not unprepared: the kubelet shows it in an event of the pod."""


Answer: TypeAlias = PreparedClaim | NotPreparedError


class Preparation:
    """The prepared claims of one driver on one node. Not for several threads at a time."""

    def __init__(
        self, *, driver: str, pool: str, folder: Path, cdi_folder: Path, boot_id: str, injector: Injector, disk: Disk
    ) -> None:
        self._driver = driver
        self._pool = pool
        self._folder = folder
        self._injector = injector
        self._disk = disk
        self._cdi = CdiFolder(disk, cdi_folder, driver, boot_id)
        self._metadata = MetadataFolder(disk, folder / "metadata", driver)
        self._journal = Journal(disk, folder, boot_id, self._cdi.recorded_claims)

    @property
    def claims(self) -> Mapping[Uid, PreparedClaim]:
        """A copy, as of now; another agent of the node may have changed them since the last call."""
        return dict(self._journal.claims)

    def cdi_id(self, device: PreparedDevice) -> str:
        return self._cdi.qualified(device)

    # --- calls -------------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """At start: what a crash, a reboot or a stranger left is put right. Raises OSError where there is no folder."""
        self._disk.make_folder(self._folder)
        with self._alone():
            kept = {uid: claim for uid, claim in self._journal.claims.items() if claim.state == COMPLETED}
            try:
                self._disk.sweep(self._folder)
                self._cdi.sweep()
                self._metadata.sweep()
                for uid in self._cdi.uids():
                    if uid not in kept:
                        log.info("stale CDI spec removed", claim=uid)
                        self._cdi.remove(uid)
                for uid in self._metadata.uids():
                    if uid not in kept:
                        self._metadata.remove(uid)
                for claim in kept.values():
                    if not self._cdi.holds(claim):
                        log.warning("CDI spec written again: it was gone or changed", claim=_name(claim))
                        self._cdi.write(claim)
            except OSError as error:
                log.error("CDI specs could not be put right", folder=str(self._cdi.folder), error=str(error))

    def prepare(self, claims: Sequence[ResourceClaim], devices: Mapping[str, BasicDevice]) -> dict[Uid, Answer]:
        """An answer for each claim. `devices` are the node's, by name."""
        try:
            with self._alone():
                return self._prepare(claims, devices)
        except OSError as error:
            return {claim.uid: NotPreparedError(_disk_trouble(self._folder, error)) for claim in claims}

    def unprepare(self, uids: Sequence[Uid]) -> dict[Uid, NotPreparedError | None]:
        """An answer for each claim, None where it is not prepared any more, or never was."""
        try:
            with self._alone():
                return self._unprepare(uids)
        except OSError as error:
            return dict.fromkeys(uids, NotPreparedError(_disk_trouble(self._folder, error)))

    # --- prepare -----------------------------------------------------------------------------------------------------

    def _prepare(self, claims: Sequence[ResourceClaim], devices: Mapping[str, BasicDevice]) -> dict[Uid, Answer]:
        answers: dict[Uid, Answer] = {}
        started: list[tuple[ResourceClaim, PreparedClaim, list[RequestedConfig]]] = []
        before = dict(self._journal.claims)
        for claim in {claim.uid: claim for claim in claims}.values():
            try:
                known = self._already_prepared(claim)
                if known is not None:
                    answers[claim.uid] = known
                    continue
                record, configs = self._plan(claim, devices)
                self._journal.claims[claim.uid] = record
                started.append((claim, record, configs))
            except NotPreparedError as error:
                answers[claim.uid] = error
        if not started:
            return answers
        try:
            self._journal.save(durable=False)  # a node that loses its power now has nothing prepared anyway
        except OSError as error:
            self._journal.claims = before
            trouble = NotPreparedError(_disk_trouble(self._journal.file, error))
            return answers | {claim.uid: trouble for claim, _, _ in started}
        for claim, record, configs in started:
            answers[claim.uid] = self._make(claim, record, configs, devices)
        try:
            self._journal.save()
        except OSError as error:
            trouble = NotPreparedError(_disk_trouble(self._journal.file, error))
            for claim, record, _ in started:
                self._undo(record)
                answers[claim.uid] = trouble
        return answers

    def _already_prepared(self, claim: ResourceClaim) -> PreparedClaim | None:
        """The claim's record if it is prepared as it is allocated. Raises NotPreparedError if it is, but otherwise."""
        known = self._journal.claims.get(claim.uid)
        if known is not None and known.state == STARTED:  # could not be taken back before
            try:
                self._take_back(known)
            except OSError as error:
                raise NotPreparedError(_disk_trouble(self._cdi.folder, error)) from error
            known = None
        if known is None:
            return None
        if known.allocated != self._allocated(claim):
            raise NotPreparedError(
                "it is still prepared with the devices of an earlier allocation; they have to be unprepared first: "
                "end the pod that uses them"
            )
        if not self._cdi.holds(known):
            try:
                self._cdi.write(known)
            except OSError as error:
                raise NotPreparedError(_disk_trouble(self._cdi.folder, error)) from error
        return known

    def _allocated(self, claim: ResourceClaim) -> tuple[AllocatedDevice, ...]:
        allocation = claim.status.allocation
        return () if allocation is None else allocated_devices(allocation.devices.results or (), self._driver)

    def _plan(
        self, claim: ResourceClaim, devices: Mapping[str, BasicDevice]
    ) -> tuple[PreparedClaim, list[RequestedConfig]]:
        """The record of a claim that may be prepared, and its configuration. Raises NotPreparedError."""
        if claim.status.allocation is None:
            raise NotPreparedError("it is not allocated")
        if not is_safe_uid(claim.uid):
            raise NotPreparedError(f"its UID {claim.uid!r} is not one that a file could be named by")
        in_pod = claim.metadata.annotation(POD_CLAIM_NAME_ANNOTATION)
        if in_pod and _LABEL.fullmatch(in_pod) is None:
            raise NotPreparedError(f"annotation {POD_CLAIM_NAME_ANNOTATION}: {in_pod!r} is no DNS label")
        if _SUBDOMAIN.fullmatch(claim.metadata.name) is None:
            raise NotPreparedError(f"its name {claim.metadata.name!r} is no DNS subdomain")
        allocated = self._allocated(claim)
        if not allocated:
            raise NotPreparedError(f"it has no device of driver {self._driver}")
        for one in allocated:
            self._check(claim, one, devices)
        try:
            configs = read_configs(claim.status.allocation.devices.config or (), self._driver)
        except ConfigError as error:
            raise NotPreparedError(str(error)) from error
        record = PreparedClaim(
            uid=claim.uid,
            namespace=claim.metadata.namespace,
            name=claim.metadata.name,
            state=STARTED,
            devices=tuple(
                PreparedDevice(
                    allocated=one,
                    cdi_name=_cdi_name(claim.uid, one),
                    made=not one.admin_access and self._injector.makes(devices[one.device]),
                )
                for one in allocated
            ),
        )
        return record, configs

    def _check(self, claim: ResourceClaim, one: AllocatedDevice, devices: Mapping[str, BasicDevice]) -> None:
        if one.pool != self._pool:
            raise NotPreparedError(f"device {one.device!r} is of pool {one.pool!r}, this node has {self._pool!r}")
        unfit = [name for name in (one.device, *one.requests) if _LABEL.fullmatch(name) is None]
        if unfit:
            raise NotPreparedError(f"{unfit[0]!r} is no name of a device or request (a DNS label)")
        if one.device not in devices:
            raise NotPreparedError(f"device {one.device!r} is not on this node (any more)")
        for other in self._journal.claims.values():
            if other.uid != claim.uid and any(one.excludes(held) for held in other.allocated):
                log.error(
                    "a device is allocated that is prepared for another claim",
                    device=one.device,
                    claim=f"{claim.key}",
                    prepared_for=_name(other),
                )
                raise NotPreparedError(
                    f"device {one.device!r} is still prepared for another claim (UID {other.uid}); "
                    "it has to be unprepared first"
                )

    def _make(
        self,
        claim: ResourceClaim,
        record: PreparedClaim,
        configs: Sequence[RequestedConfig],
        devices: Mapping[str, BasicDevice],
    ) -> Answer:
        made = []
        try:
            for device in record.devices:
                one = device.allocated
                try:
                    injected = self._injector.edits(self._driver, one, devices[one.device])
                except OSError as error:
                    self._undo(record)
                    return NotPreparedError(f"device {one.device!r} cannot be used: {error}")
                wanted = ContainerEdits(env=env_of(configs, one), mounts=self._metadata.mounts(claim, one))
                made.append(structs.replace(device, edits=injected.plus(wanted)))
            completed = structs.replace(record, state=COMPLETED, devices=tuple(made))
            self._metadata.write(claim, record.allocated, devices)
            self._cdi.write(completed)
        except OSError as error:
            self._undo(record)
            return NotPreparedError(_disk_trouble(self._cdi.folder, error))
        self._journal.claims[record.uid] = completed
        return completed

    # --- taking back -------------------------------------------------------------------------------------------------

    def _take_back(self, record: PreparedClaim) -> None:
        """All that there is of the claim but its record. Safe to repeat. Raises OSError."""
        self._cdi.remove(record.uid)
        self._metadata.remove(record.uid)
        for device in record.devices:
            if device.made:
                self._injector.undo(device.allocated.device)

    def _undo(self, record: PreparedClaim) -> None:
        """Take back what a failed prepare has made; what is refused now stays started, and is tried again."""
        try:
            self._take_back(record)
            self._journal.claims.pop(record.uid, None)
        except OSError as error:
            self._journal.claims[record.uid] = structs.replace(record, state=STARTED)
            log.error("left over after a failed prepare", claim=_name(record), error=str(error))

    # --- unprepare ---------------------------------------------------------------------------------------------------

    def _unprepare(self, uids: Sequence[Uid]) -> dict[Uid, NotPreparedError | None]:
        """First the file says that they count no more: what is left of them is taken back, should we die in between."""
        before = dict(self._journal.claims)
        known = [uid for uid in uids if uid in before]
        self._journal.claims |= {uid: structs.replace(before[uid], state=STARTED) for uid in known}
        answers: dict[Uid, NotPreparedError | None] = {}
        try:
            if known:
                self._journal.save(durable=False)
            for uid in uids:
                answers[uid] = self._unprepare_one(uid)
            if known:
                self._journal.save()
        except OSError as error:
            self._journal.claims = before
            answers = dict.fromkeys(uids, NotPreparedError(_disk_trouble(self._journal.file, error)))
        return answers

    def _unprepare_one(self, uid: Uid) -> NotPreparedError | None:
        record = self._journal.claims.get(uid)
        try:
            if record is None:
                self._cdi.remove(uid)
            else:
                self._take_back(record)
                del self._journal.claims[uid]
        except OSError as error:
            return NotPreparedError(_disk_trouble(self._cdi.folder, error))
        return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else is at work meanwhile, and calls that ended badly are taken back: they were never answered."""
        with self._journal.alone() as read_anew:
            started = [claim for claim in self._journal.claims.values() if claim.state == STARTED]
            if read_anew and started:
                for claim in started:
                    self._undo(claim)
                self._journal.save()
            yield


def _cdi_name(uid: Uid, one: AllocatedDevice) -> str:
    """Never that of another device, nor of this one given otherwise."""
    suffix = f"-{one.share_id}" if one.share_id else "-admin" if one.admin_access else ""
    return f"{uid}-{one.device}{suffix}"


def _name(claim: PreparedClaim) -> str:
    return f"{claim.namespace}/{claim.name}"


def _disk_trouble(path: Path, error: OSError) -> str:
    return f"{error.filename or path}: {error.strerror or error}"
