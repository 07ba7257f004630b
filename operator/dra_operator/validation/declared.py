"""The rules that are declared at the types' fields, walked over an object.

On an update nothing is looked at again that did not change (ratcheting): a field that is as before, an element of a
keyed list that is as the old element of that key. A rule of `STOPPING` that speaks silences the field's other rules and
everything below it.

Upstream: `zz_generated.validations.go` of pkg/apis/resource/v1, made from the tags by validation-gen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, cast

from dra_operator.api.content import size
from dra_operator.validation.equality import same
from dra_operator.validation.errors import (
    Declared,
    FieldError,
    child,
    duplicate,
    forbidden,
    index,
    invalid,
    key,
    not_supported,
    required,
    too_long,
    too_many,
)
from dra_operator.validation.formats import check_format
from dra_operator.validation.gates import Gates
from dra_operator.validation.metatypes import ObjectMeta
from dra_operator.validation.shapes import (
    STOPPING,
    EachKey,
    EachValue,
    Field,
    ForbiddenUnless,
    Form,
    Format,
    Immutable,
    Level,
    MaxBytes,
    MaxCharacters,
    MaxItems,
    NameFormat,
    NoModify,
    OneOf,
    Optional,
    Required,
    Rule,
    Unique,
    Wire,
    shape_of,
)

_ONCE: Final = "field cannot be modified once set"
_UNSET: Final = (None, ())
"""A member of a union that is an empty list is not a choice."""


def check_declared(new: Wire, old: Wire | None, gates: Gates) -> tuple[Declared, ...]:
    """What the declared rules say about a new object, or about the change of an old one."""
    return tuple(_Walk(old is not None, gates).struct("", new, old))


class _Walk:
    def __init__(self, update: bool, gates: Gates) -> None:
        self._update = update
        self._gates = gates

    def struct(self, path: str, new: Wire, old: Wire | None) -> Iterator[Declared]:
        if new.union:
            yield from self._union(path, new, old)
        for field in shape_of(type(new)).fields:
            value = getattr(new, field.attribute)
            before = getattr(old, field.attribute) if old is not None else None
            if self._update and old is not None and same(value, before):
                continue
            yield from self._field(child(path, field.json_name), field, value, before)

    def _union(self, path: str, new: Wire, old: Wire | None) -> Iterator[Declared]:
        members = {each.json_name: each.attribute for each in shape_of(type(new)).fields if each.json_name in new.union}
        chosen = [name for name, attribute in members.items() if getattr(new, attribute) not in _UNSET]
        if self._update and old is not None:
            before = [name for name, attribute in members.items() if getattr(old, attribute) not in _UNSET]
            if before == chosen:
                return
        names = ", ".join(f"`{name}`" for name in new.union)
        beta = new.union_level is Level.BETA
        if len(chosen) > 1:
            detail = f"must specify exactly one of: {names}"
            yield Declared(invalid(path, f"{{{', '.join(chosen)}}}", detail, origin="union"), beta)
        elif not chosen:
            yield Declared(invalid(path, "", f"must specify one of: {names}", origin="union"), beta)

    def _field(self, path: str, field: Field, value: object, before: object) -> Iterator[Declared]:
        stopped = False
        empty = value is None if field.type.pointer else value is None or value in ("", ()) or value == {}
        for rule in field.rules:
            if isinstance(rule, STOPPING):
                speaks, errors = self._stopping(rule, path, value, before, empty)
                stopped = stopped or speaks
                yield from _declared(rule, errors)
        if stopped or value is None:
            return
        for rule in field.rules:
            if not isinstance(rule, STOPPING):
                yield from _declared(rule, self._other(rule, path, value, before))
        yield from self._below(path, field, value, before)

    def _below(self, path: str, field: Field, value: object, before: object) -> Iterator[Declared]:
        """The rules of the types inside."""
        element = field.type.element
        if isinstance(value, Wire):
            yield from self.struct(path, value, cast(Wire | None, before))
        elif element is not None and element.form is Form.STRUCT:
            if isinstance(value, dict):
                pairs = [(key(path, name), each, _entry(before, name)) for name, each in value.items()]
            else:
                find = _correlation(field, before)
                pairs = [(index(path, i), each, find(each)) for i, each in enumerate(cast(tuple[Wire, ...], value))]
            for inner, each, old in pairs:
                if self._update and old is not None and same(each, old):
                    continue
                yield from self.struct(inner, each, old)

    # --- single rules ------------------------------------------------------------------------------------------------

    def _stopping(
        self, rule: Rule, path: str, value: object, before: object, empty: bool
    ) -> tuple[bool, list[FieldError]]:
        """Whether the rule silences the others, and what it says."""
        match rule:
            case Optional():
                return empty, []
            case Required() if empty:
                return True, [required(path)]
            case MaxItems(limit=limit):
                count = len(cast(tuple[object, ...], value or ()))
                if count > limit:
                    return True, [too_many(path, count, limit, origin="maxItems")]
            case Immutable() if self._update:
                return True, [invalid(path, None, "field is immutable", origin="immutable")]
            case NoModify() if self._update and before is not None and value is not None:
                return True, [invalid(path, None, _ONCE, origin="update")]
            case ForbiddenUnless(gate=gate) if value is not None and not self._gates.enabled(gate):
                return True, [forbidden(path, "")]
        return False, []

    def _other(self, rule: Rule, path: str, value: object, before: object) -> list[FieldError]:
        match rule:
            case Format(name=name):
                return check_format(name, path, cast(str, value))
            case OneOf(values=values):
                return [] if value in values else [not_supported(path, cast(str, value), values)]
            case MaxCharacters(limit=limit):
                longer = len(cast(str, value)) > limit
                return [too_long(path, limit, origin="maxLength", unit="character")] if longer else []
            case MaxBytes(limit=limit):
                return [too_long(path, limit, origin="maxBytes")] if size(cast(str, value)) > limit else []
            case Unique(keys=keys):
                return _duplicates(path, cast(tuple[object, ...], value), keys)
            case EachKey(format=inner):
                known = cast(dict[str, object], before or {}) if self._update else {}
                new = [name for name in cast(dict[str, object], value) if name not in known]
                return [error for name in new for error in check_format(inner.name, path, name)]
            case EachValue(rule=each_rule):
                kept = cast(tuple[object, ...], before or ()) if self._update else ()
                return [
                    error
                    for i, each in enumerate(cast(tuple[object, ...], value))
                    if each not in kept
                    for error in self._other(each_rule, index(path, i), each, None)
                ]
            case NameFormat(format=inner):
                name = cast(ObjectMeta, value).name
                unchanged = self._update and before is not None and cast(ObjectMeta, before).name == name
                return [] if unchanged or not name else check_format(inner.name, child(path, "name"), name)
        raise TypeError(f"no check for {type(rule).__name__}")


def _declared(rule: Rule, errors: list[FieldError]) -> Iterator[Declared]:
    return (Declared(each, rule.level is Level.BETA) for each in errors)


def _entry(before: object, name: str) -> Wire | None:
    return cast(dict[str, Wire], before).get(name) if before else None


def _correlation(field: Field, before: object) -> Callable[[Wire], Wire | None]:
    """Finds the old element that a new one continues: only lists with keys know."""
    unique = next((rule for rule in field.rules if isinstance(rule, Unique)), None)
    if unique is None or not before:
        return lambda each: None
    elements = cast(tuple[Wire, ...], before)
    return lambda each: next((old for old in elements if _alike(old, each, unique.keys)), None)


def _alike(a: object, b: object, keys: tuple[str, ...]) -> bool:
    if not keys:
        return a == b
    shape = shape_of(type(cast(Wire, a)))
    return all(
        getattr(a, shape.by_json_name[name].attribute) == getattr(b, shape.by_json_name[name].attribute)
        for name in keys
    )


def _duplicates(path: str, values: tuple[object, ...], keys: tuple[str, ...]) -> list[FieldError]:
    seen: set[object] = set()
    found = []
    for i, each in enumerate(values):
        if keys:
            shape = shape_of(type(cast(Wire, each)))
            identity: object = tuple(getattr(each, shape.by_json_name[name].attribute) for name in keys)
        else:
            identity = each
        if identity in seen:
            found.append(duplicate(index(path, i), each))
        seen.add(identity)
    return found
