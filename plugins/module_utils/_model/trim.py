# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""Trims what the API gave to a shape, so that nothing else is ever kept; equal parts become one object."""

from __future__ import annotations

import marshal
import typing as t

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.kube import PLAIN_MARSHAL, content_of
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.schema import (
    Address,
    Alike,
    Mapping,
    Misshapen,
    Number,
    Reduced,
    Required,
    check_free,
    is_address,
)


def trim(value: t.Any, shape: t.Any) -> t.Any:
    """What `shape` names of `value`, as plain JSON types; empty and absent parts are left out, unless they are required.

    Raises Misshapen for what has not the shape, so that all that is kept can be recorded and read again.
    """
    return _PLAIN(value, shape)


WORDS: dict[type, str] = {str: "text", bool: "true or false"}


class Trimmer:
    """trim() for many objects: parts that are equal, where a shape says that they may be, are one object, which nobody may change."""

    def __init__(self, share: bool = True) -> None:
        self._share = share
        self._functions: dict[int, tuple[t.Any, t.Callable[[t.Any], t.Any] | None]] = {}
        self._held: dict[int | str, t.Any] = {}
        self._made: dict[bytes, t.Any] = {}

    def __call__(self, value: t.Any, shape: t.Any) -> t.Any:
        function = self._function(shape)
        return function(value) if function else value

    def _function(self, shape: t.Any) -> t.Callable[[t.Any], t.Any] | None:
        """What trims to `shape`, None where there is nothing to trim; made once, because looking a shape up costs more than trimming."""
        known = self._functions.get(id(shape))
        if known is None:
            known = self._functions[id(shape)] = (shape, self._new_function(shape))
        return known[1]

    def _new_function(self, shape: t.Any) -> t.Callable[[t.Any], t.Any] | None:
        if isinstance(shape, Required):
            return self._function(shape.shape)
        if isinstance(shape, Alike):
            return self._alike(shape, self._function(shape.shape))
        if isinstance(shape, Reduced):
            inner, keep = self._function(shape.shape), shape.keep
            return (lambda value: keep(inner(value))) if inner else keep
        if isinstance(shape, dict):
            return self._mapping(shape)
        if isinstance(shape, list):
            return self._list(self._function(shape[0]))
        if isinstance(shape, Mapping):
            return _texts if shape.value is str else _values(self._function(shape.value))
        if isinstance(shape, Number):
            return _number(shape)
        if isinstance(shape, tuple):
            return _number_or_text(_number(shape[0]))
        return _LEAVES.get(shape if isinstance(shape, type) else type(shape))

    def _mapping(self, shape: dict[str, t.Any]) -> t.Callable[[t.Any], t.Any]:
        fields = []
        for key, inner in shape.items():
            plain = inner.shape if isinstance(inner, Required) else inner
            word = (
                plain if isinstance(plain, type) and plain in WORDS else None
            )  # its class is looked at here: a call for each text costs more
            fields.append(
                (key, None if word else self._function(inner), word, isinstance(inner, Required), inner == {})
            )

        def mapping(value: t.Any) -> t.Any:
            if not isinstance(value, dict):
                raise Misshapen("a mapping", value)
            kept = {}
            for key, function, word, required, may_be_empty in fields:
                part = value.get(key)
                if part is None:
                    if required:
                        raise Misshapen(key, value)
                    continue
                if function:
                    part = function(part)
                    if part is None:
                        continue
                elif word and part.__class__ is not word:
                    raise Misshapen(WORDS[word], part)
                if part or required or (part != [] and (part != {} or may_be_empty)):
                    kept[key] = part
            return kept

        return mapping

    def _list(self, item: t.Callable[[t.Any], t.Any] | None) -> t.Callable[[t.Any], t.Any]:
        def several(value: t.Any) -> t.Any:
            if not isinstance(value, list):
                raise Misshapen("a list", value)
            return [item(each) for each in value] if item else list(value)

        return several

    def _alike(self, shape: Alike, inner: t.Callable[[t.Any], t.Any] | None) -> t.Callable[[t.Any], t.Any] | None:
        held, made, look = self._held, self._made, shape.look

        def looked(value: t.Any) -> t.Any:
            return inner(look(value)) if inner and look else value

        def once(value: t.Any) -> t.Any:
            read = look(value) if look else value
            digest = content_of(read)
            if digest not in made:
                made[digest] = inner(read) if inner else read
            return made[digest]

        def equal(value: t.Any) -> t.Any:
            part = inner(value) if inner else value
            one = held.setdefault(hash(marshal.dumps(part, PLAIN_MARSHAL)), part)
            return one if one == part else part

        def of_the_same(value: t.Any) -> t.Any:
            part = inner(value) if inner else value
            one = held.setdefault(hash(tuple(map(id, part))), part)
            return one if one == part else part

        if not self._share:
            return looked if look else inner
        if look:
            return once
        if shape.shape is str:
            return lambda value: held.setdefault(_text(value), value)
        return of_the_same if isinstance(shape.shape, list) and isinstance(shape.shape[0], Alike) else equal


def _word(kind: type) -> t.Callable[[t.Any], t.Any]:
    def word(value: t.Any) -> t.Any:
        if value.__class__ is not kind:
            raise Misshapen(WORDS[kind], value)
        return value

    return word


_text = _word(str)


def _number(shape: Number) -> t.Callable[[t.Any], t.Any]:
    low, high = shape.low, shape.high

    def number(value: t.Any) -> t.Any:
        if value.__class__ is not int or not low <= value <= high:
            raise Misshapen(f"a whole number from {low} to {high}", value)
        return value

    return number


def _number_or_text(number: t.Callable[[t.Any], t.Any]) -> t.Callable[[t.Any], t.Any]:
    return lambda value: value if value.__class__ is str else number(value)


def _texts(value: t.Any) -> t.Any:
    if value.__class__ is not dict:
        raise Misshapen("a mapping", value)
    for each in value.values():
        if each.__class__ is not str:
            raise Misshapen("text", each)
    return value


def _values(item: t.Callable[[t.Any], t.Any] | None) -> t.Callable[[t.Any], t.Any]:
    def values(value: t.Any) -> t.Any:
        if value.__class__ is not dict:
            raise Misshapen("a mapping", value)
        return {name: item(each) for name, each in value.items()} if item else value

    return values


def _address(value: t.Any) -> t.Any:
    if not is_address(value):
        raise Misshapen("an IP address", value)
    return value


_LEAVES: dict[t.Any, t.Callable[[t.Any], t.Any]] = {
    str: _text,
    bool: _word(bool),
    dict: check_free,
    Address: _address,
}
"""What checks a leaf."""

_PLAIN = Trimmer(share=False)
