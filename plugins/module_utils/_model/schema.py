# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The language of the shapes: what a shape can say, and whether plain data has one."""

from __future__ import annotations

import ipaddress
import math
import socket
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import content_of
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import OutsideTextError

MAX_DEPTH = 64
"""Most levels of what is carried over as it is, which copying and printing goes through level by level."""


class Misshapen(ValueError):
    """A part that has not its shape: what was wanted, and what there is. Where that is in the object, check_shape() says."""

    def __init__(self, wanted: str, value: t.Any) -> None:
        super().__init__(f"wanted {wanted}")
        self.wanted, self.value = wanted, value


class Required:
    """A field that evaluate cannot do without."""

    def __init__(self, shape: t.Any) -> None:
        self.shape = shape


class Mapping:
    """A mapping with free keys and values of one shape."""

    def __init__(self, value: t.Any) -> None:
        self.value = value


class Only:
    """A mapping of these fields and no other: what a person or a program wrote for this collection to act on."""

    def __init__(self, fields: dict[str, t.Any]) -> None:
        self.fields = fields


class Reduced:
    """A field of which only a part may be kept; `keep` returns that part, or None for nothing."""

    def __init__(self, shape: t.Any, keep: t.Callable[[t.Any], t.Any]) -> None:
        self.shape = shape
        self.keep = keep


class Alike(Reduced):
    """A part that many objects have in common, as replicas have what their template says: a Trimmer makes and holds it once.

    `look`, where it costs something to trim the part, says what of it is read at all, so that the rest does not make it another.
    """

    def __init__(self, shape: t.Any, look: t.Callable[[t.Any], t.Any] | None = None) -> None:
        super().__init__(shape, lambda part: part)
        self.look = look


class Number:
    """A whole number within bounds; what a file may hold there is checked, since it ends up in arithmetic and names."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high


class Address:
    """An IP address, or empty text where there is none yet: rules compute with it."""


def is_address(value: t.Any) -> bool:
    return isinstance(value, str) and _parses(value)


def _parses(text: str) -> bool:
    try:  # which is much faster, and takes nothing that the other does not
        socket.inet_pton(socket.AF_INET, text)
        return True
    except (OSError, ValueError):
        pass
    try:
        ipaddress.ip_address(text or "::")
    except ValueError:
        return False
    return True


def check_free(value: t.Any) -> t.Any:
    """What is carried over as it is has to be JSON that everybody reads: Python's parser takes NaN, and levels without end. Raises Misshapen."""
    if not isinstance(value, dict):
        raise Misshapen("a mapping", value)
    level: list[t.Any] = [value]
    for _depth in range(MAX_DEPTH):
        for item in level:
            if isinstance(item, float) and not math.isfinite(item):
                raise Misshapen("a number that JSON has", item)
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return value
    raise Misshapen(f"at most {MAX_DEPTH} levels", value)


class SnapshotError(OutsideTextError):
    """A document that is not a ClusterSnapshot; the text names the path inside it."""


Check = t.Callable[[t.Any], bool]


class Checker:
    """Whether values have a shape: what check_shape() finds out, several times as fast, but not where they have not.

    A part that a shape says is alike in many objects is looked at once for each content.
    """

    def __init__(self) -> None:
        self._checks: dict[int, tuple[t.Any, Check]] = {}

    def __call__(self, value: t.Any, shape: t.Any) -> bool:
        try:
            return self._check(shape)(value)
        except (Misshapen, ValueError, RecursionError):  # marshal refuses many levels, too
            return False

    def _check(self, shape: t.Any) -> Check:
        known = self._checks.get(id(shape))
        if known is None:
            known = self._checks[id(shape)] = (shape, self._new_check(shape))
        return known[1]

    def _new_check(self, shape: t.Any) -> Check:
        if isinstance(shape, Alike) and shape.shape is not str:
            return self._alike(self._check(shape.shape))
        if isinstance(shape, (Required, Reduced)):
            return self._check(shape.shape)
        if isinstance(shape, Only):
            only, fields = self._mapping(shape.fields), shape.fields
            return lambda value: only(value) and not value.keys() - fields.keys()
        if isinstance(shape, dict):
            return self._mapping(shape)
        if isinstance(shape, list):
            each = self._check(shape[0])
            return lambda value: isinstance(value, list) and all(map(each, value))
        if isinstance(shape, Mapping):
            item = self._check(shape.value)
            return lambda value: (
                isinstance(value, dict) and all(isinstance(key, str) and item(part) for key, part in value.items())
            )
        if isinstance(shape, Number):
            low, high = shape.low, shape.high
            return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        if isinstance(shape, Address):
            return is_address
        if isinstance(shape, tuple):
            number = self._check(shape[0])
            return lambda value: isinstance(value, str) or number(value)
        return (
            (lambda value: bool(check_free(value) is value))
            if shape is dict
            else lambda value: isinstance(value, shape)
        )

    def _mapping(self, shape: dict[str, t.Any]) -> Check:
        fields = []
        for key, inner in shape.items():
            plain = inner.shape if isinstance(inner, Required) else inner
            plain = str if isinstance(plain, Alike) and plain.shape is str else plain
            kind = (
                plain if plain in (str, bool) else None
            )  # its class is looked at here: a call for each text costs more
            fields.append((key, self._check(inner), kind, isinstance(inner, Required)))

        def mapping(value: t.Any) -> bool:
            if not isinstance(value, dict):
                return False
            known = 0
            for key, check, kind, required in fields:
                part = value.get(key)
                if part is not None:
                    known += 1
                    if part.__class__ is not kind and not check(part):
                        return False
                elif required:
                    return False
            if known < len(value):  # what a later version added
                check_free({key: value[key] for key in value.keys() - shape.keys()})
            return True

        return mapping

    def _alike(self, check: Check) -> Check:
        fit: set[bytes] = set()

        def alike(value: t.Any) -> bool:
            content = content_of(value)
            if content in fit:
                return True
            if not check(value):
                return False
            fit.add(content)
            return True

        return alike


def check_shape(value: t.Any, shape: t.Any, path: str) -> None:
    """Raises SnapshotError, which names the path below `path`, if `value` has not the shape: for a ClusterSnapshot, and for a saved Report."""
    if isinstance(shape, (Required, Reduced)):
        check_shape(value, shape.shape, path)
    elif isinstance(shape, Only):
        check_shape(value, shape.fields, path)
        for key in value:
            if key not in shape.fields:
                raise SnapshotError(f"{path + '.' if path else ''}{key}: this field does not belong here")
    elif isinstance(shape, dict):
        _check_fields(value, shape, path)
    elif isinstance(shape, Mapping):
        _expect(isinstance(value, dict), "a mapping", value, path)
        for key, item in value.items():
            _expect(isinstance(key, str), "text for a key", key, path)
            check_shape(item, shape.value, f"{path}.{key}")
    elif isinstance(shape, list):
        _expect(isinstance(value, list), "a list", value, path)
        for number, item in enumerate(value):
            check_shape(item, shape[0], f"{path}[{number}]")
    elif isinstance(shape, tuple):
        check_shape(value, shape[1] if isinstance(value, str) else shape[0], path)
    else:
        _check_leaf(value, shape, path)


def _check_fields(value: t.Any, shape: dict[str, t.Any], path: str) -> None:
    _expect(isinstance(value, dict), "a mapping", value, path)
    known = 0
    for key, inner in shape.items():
        if value.get(key) is not None:
            known += 1
            check_shape(value[key], inner, f"{path}.{key}" if path else key)
        elif isinstance(inner, Required):
            raise SnapshotError(f"{path + '.' if path else ''}{key}: missing")
    if known < len(value):  # what a later version added
        _check_free({key: value[key] for key in value.keys() - shape.keys()}, path)


def _check_leaf(value: t.Any, shape: t.Any, path: str) -> None:
    if isinstance(shape, Number):
        fits = isinstance(value, int) and not isinstance(value, bool) and shape.low <= value <= shape.high
        _expect(fits, f"a whole number from {shape.low} to {shape.high}", value, path)
    elif isinstance(shape, Address):
        _expect(is_address(value), "an IP address", value, path)
    else:
        names = {str: "text", bool: "true or false", dict: "a mapping"}
        _expect(isinstance(value, shape), names[shape], value, path)
        if shape is dict:
            _check_free(value, path)


def _check_free(value: dict[t.Any, t.Any], path: str) -> None:
    try:
        check_free(value)
    except Misshapen as error:
        raise SnapshotError(f"{path or 'it'}: {error}, found {excerpt_of(error.value)}") from error


def _expect(fits: bool, wanted: str, value: t.Any, path: str) -> None:
    if not fits:
        raise SnapshotError(f"{path}: wanted {wanted}, found {excerpt_of(value)}")


def type_name(value: t.Any) -> str:
    for kind, name in (
        (dict, "a mapping"),
        (list, "a list"),
        (str, "text"),
        (bool, "true or false"),
        (type(None), "nothing"),
    ):
        if isinstance(value, kind):
            return name
    return "a number"


def excerpt_of(value: t.Any) -> str:
    if isinstance(value, (dict, list)) or value is None:
        return type_name(value)
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
