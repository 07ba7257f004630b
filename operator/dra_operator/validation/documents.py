"""Documents to objects: which kind it is, and strict decoding of it.

Upstream: `Serializer.Decode` in k8s.io/apimachinery/pkg/runtime/serializer/json and `transformDecodeError` in
k8s.io/apiserver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dra_operator.validation.errors import FieldError, summary
from dra_operator.validation.gotext import quote
from dra_operator.validation.jsontree import Members, NotJSON, Number, Tree, from_plain, parse
from dra_operator.validation.metatypes import Object
from dra_operator.validation.pods import Pod
from dra_operator.validation.slicetypes import ResourceSlice
from dra_operator.validation.strict import Misfit, Problem, fit
from dra_operator.validation.types import DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate

GROUP: Final = "resource.k8s.io"
API_VERSION: Final = f"{GROUP}/v1"
KINDS: Final[Mapping[str, type[Object]]] = {
    each.__name__: each
    for each in (DeviceClass, DeviceTaintRule, ResourceClaim, ResourceClaimTemplate, ResourceSlice, Pod)
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """The document is an object. Whether it is a valid one is not said."""

    object: Object


@dataclass(frozen=True, slots=True)
class Undecodable:
    """The document cannot be taken as an object. `message` is the API server's; `problems` say where."""

    message: str
    problems: tuple[Problem, ...] = ()


def decode(document: bytes | str | Mapping[str, object], kind: type[Object] | None = None) -> Decoded | Undecodable:
    """JSON text, or what YAML gives, as an object. Without `kind` the document has to name its own."""
    try:
        tree = parse(document) if isinstance(document, bytes | str) else from_plain(document)
    except NotJSON as error:
        return Undecodable(f"the document is not JSON: {error}")
    if not isinstance(tree, Members):
        return Undecodable("the document is not an object")
    named = _kind_of(tree)
    if isinstance(named, Undecodable):
        return named
    if kind is not None and named is not None and named is not kind:
        return Undecodable(
            f"the document is a {named.__name__}, not a {kind.__name__}", (Problem("kind", "wrong kind"),)
        )
    wanted = kind or named
    if wanted is None:
        return Undecodable("Object 'Kind' is missing", (Problem("kind", "missing"),))
    found = fit(tree, wanted)
    if isinstance(found, Misfit):
        return Undecodable(_cannot_be_handled(wanted, found.problem.message), (found.problem,))
    if found.problems:
        text = ", ".join(each.message for each in found.problems)
        return Undecodable(_cannot_be_handled(wanted, f"strict decoding error: {text}"), found.problems)
    assert isinstance(found.object, Object)
    return Decoded(found.object)


def refusal(object_: Object, errors: Sequence[FieldError]) -> str:
    """The errors as the API server sends them."""
    kind = type(object_).__name__
    named = kind if isinstance(object_, Pod) else f"{kind}.{GROUP}"
    return f"{named} {quote(object_.metadata.name)} is invalid: {summary(errors)}"


def _kind_of(tree: Members) -> type[Object] | Undecodable | None:
    """The kind that a document names. Like the server we read it before anything else."""
    named = {"apiVersion": "", "kind": ""}
    for name, value in tree.pairs:
        if name not in named or value is None:
            continue
        if not isinstance(value, str) or isinstance(value, Number):
            message = f"json: cannot unmarshal {_type_of(value)} into Go struct field .{name} of type string"
            return Undecodable(f"couldn't get version/kind; json parse error: {message}", (Problem(name, message),))
        named[name] = value
    version, kind = named["apiVersion"], named["kind"]
    if not version and not kind:
        return None
    found = KINDS.get(kind)
    if found is None or version not in ("", "v1" if found is Pod else API_VERSION):
        return Undecodable(f"no kind {quote(kind)} is known in version {quote(version)}", (Problem("kind", "unknown"),))
    return found


def _type_of(tree: Tree) -> str:
    match tree:
        case Members():
            return "object"
        case tuple():
            return "array"
        case bool():
            return "bool"
    return "number"


def _cannot_be_handled(kind: type[Object], message: str) -> str:
    return f'{kind.__name__} in version "v1" cannot be handled as a {kind.__name__}: {message}'
