"""What Kopf's events do to the View: late, doubled and left out as they may come."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from dra_operator.api.codec import to_plain
from dra_operator.api.kinds import CLASSES, NAMESPACES, NODES, PODS, TEMPLATES, Kind
from dra_operator.api.meta import Object, Uid
from dra_operator.api.names import ADMIN_ACCESS_LABEL
from dra_operator.controller.lists import Lists
from dra_operator.controller.mirrors import KopfMirror, TaintRuleMirror
from dra_operator.lifecycle.actions import Notice
from dra_operator.lifecycle.view import View
from tests.builders import allocated, claim, device_class, node, pod, result, slice_of, taint_rule, template
from tests.unit.lifecycle.scene import namespace, show

NAMED = [(CLASSES, device_class()), (NODES, node()), (TEMPLATES, template()), (NAMESPACES, namespace())]
EVERY = [*NAMED, (PODS, pod())]


class Desk:
    """A mirror; `censuses` are the kinds for which it asked, `notices` what is to be told."""

    def __init__(self) -> None:
        self.censuses: list[str] = []
        self.notices: list[Notice] = []
        self.view = View()
        self.mirror = KopfMirror(
            self.view, lambda refs: None, lambda kind: self.censuses.append(kind.plural), self.notices.append
        )

    def take(self, kind: Kind[Any], type_: str | None, object_: Object) -> None:
        self.mirror.take(kind, type_, to_plain(object_))

    def uid(self, kind: Kind[Any], of: Object) -> Uid | None:
        return self.mirror.known_uid(kind, of.key)


def at(object_: Object, uid: str, version: int) -> Object:
    metadata = msgspec.structs.replace(object_.metadata, uid=Uid(uid), resource_version=str(version))
    return msgspec.structs.replace(object_, metadata=metadata)


@pytest.mark.parametrize(("kind", "object_"), NAMED, ids=[kind.plural for kind, _ in NAMED])
@pytest.mark.parametrize("late", ["DELETED", "MODIFIED"])
def test_a_late_event_of_what_was_replaced_leaves_the_new_one(kind: Kind[Any], object_: Object, late: str) -> None:
    desk = Desk()
    desk.take(kind, "ADDED", at(object_, "old", 5))
    desk.take(kind, "ADDED", at(object_, "new", 8))
    desk.take(kind, late, at(object_, "old", 7))

    assert desk.uid(kind, object_) == "new"


@pytest.mark.parametrize(("kind", "object_"), EVERY, ids=[kind.plural for kind, _ in EVERY])
def test_a_deletion_is_taken(kind: Kind[Any], object_: Object) -> None:
    desk = Desk()
    desk.take(kind, "ADDED", object_)
    desk.take(kind, "DELETED", object_)

    assert desk.uid(kind, object_) is None


@pytest.mark.parametrize(("kind", "object_"), EVERY, ids=[kind.plural for kind, _ in EVERY])
def test_a_list_of_any_kind_asks_for_a_census(kind: Kind[Any], object_: Object) -> None:
    desk = Desk()
    desk.take(kind, "ADDED", object_)
    desk.take(kind, "MODIFIED", object_)
    assert desk.censuses == []

    desk.take(kind, None, object_)
    assert desk.censuses == [kind.plural]


def test_what_does_not_fit_is_left_out_and_was_shown() -> None:
    desk = Desk()
    odd = to_plain(pod())
    odd["spec"]["containers"] = [{"name": "main", "resources": {"requests": {"cpu": "much"}}}]
    desk.mirror.take(PODS, None, odd)

    assert desk.uid(PODS, pod()) is None
    assert desk.mirror.was_shown(pod().uid)


def test_whoever_has_admin_access_is_told_once_when_the_namespace_grants_it_no_more() -> None:
    desk = Desk()
    admin = msgspec.structs.replace(result("node-a/gpu-0"), admin_access=True)
    show(
        desk.view,
        allocated(claim(name="monitor"), admin),
        allocated(claim(name="plain"), result("node-a/gpu-1")),
        allocated(claim(name="monitor", namespace="elsewhere"), admin),
    )
    granting = namespace(**{ADMIN_ACCESS_LABEL: "true"})
    for here in (granting, granting, namespace(), namespace()):
        desk.take(NAMESPACES, "MODIFIED", here)

    assert [(one.kind, one.key.name, one.key.namespace, one.reason) for one in desk.notices] == [
        ("ResourceClaim", "monitor", "default", "AdminAccessDenied")
    ]
    assert 'namespace "default" lost the label' in desk.notices[0].message


async def test_taint_rules_are_what_was_listed_last_and_what_was_told_since() -> None:
    view = View()
    view.observe_slice(slice_of(gpus=3))
    lists = Lists()
    mirror = TaintRuleMirror(view, lambda refs: None, lists)

    def tainted() -> list[str]:
        return [one.id.device for one in view.inventory.tainted()]

    await mirror.replace([taint_rule("a", device="gpu-0"), taint_rule("b", device="gpu-1")], "5")
    assert tainted() == ["gpu-0", "gpu-1"]
    mirror.apply("MODIFIED", taint_rule("a", device="gpu-2"))
    await lists.ended()
    assert tainted() == ["gpu-1", "gpu-2"]
    mirror.apply("DELETED", taint_rule("b"))
    await lists.ended()
    assert tainted() == ["gpu-2"]
    await mirror.replace([taint_rule("c", device="gpu-0")], "9")
    assert tainted() == ["gpu-0"]
