# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""The one reader of everything that comes from outside: files, JSON and YAML, as plain data within one set of limits.

What it returns is made of dict with text for keys, list, str, int, float, bool and None, can be written as JSON, and read again.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import gzip
import json
import math
import os
import re
import stat
import typing as t
import zlib

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.text import OutsideTextError

BYTES = 256 << 20
"""Most bytes of JSON, unpacked; ten thousand pods take about 50 MB."""

YAML_BYTES = 4 << 20
"""Most bytes of YAML, which takes a hundred times as long to read: an object in Kubernetes has at most 1.5 MB."""

VALUES = 5_000_000
"""Most values, since one of two bytes, `{}`, takes 64 as an object; ten thousand pods have about a million. Aliases in YAML count as what they stand for."""

DEPTH = 100
"""Most levels; what is copied and printed is gone through level by level."""

DIGITS = 400
"""Most characters of a number in YAML: no double needs more, and Python prints no number of 4301 digits."""

BITS = 1024
"""Most bits of a whole number, which are as many as the largest double has."""

OPTION = 10_000
"""Most characters of an option that is a language of its own: a waiver's expression, a label selector."""


class OutsideError(OutsideTextError):
    """Something that is not read. The text says why, and where in it."""


def excerpt(text: str) -> str:
    """The beginning of a text, quoted, for a message that is about it."""
    return repr(text) if len(text) <= 60 else f"{text[:57]!r}..."


# ---------------------------------------------------------------------------------------------------------------------
# Files


def read_file(path: str | os.PathLike[str], most: int = 0) -> bytes:
    """The bytes of a file, unpacked if they are gzip's, which their beginning says and not the name.

    Raises OSError if it cannot be read, or is no file: a pipe may never be written to, and a device never ends. Raises OutsideError for more
    than `most` bytes (BYTES, if none are given), and for gzip data that is not whole.
    """
    most = most or BYTES
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as raw:
        if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file", str(path))
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            data = gzip.GzipFile(fileobj=raw).read(most + 1) if packed else raw.read(most + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise OutsideError(f"it is not whole gzip data: {error}") from error
    if len(data) > most:
        raise OutsideError(f"it holds more than {most} bytes")
    return data


# ---------------------------------------------------------------------------------------------------------------------
# JSON


@contextlib.contextmanager
def without_collecting() -> t.Iterator[None]:
    """JSON has no cycles, and looking for some in pages of it again and again costs as much as parsing them; what is kept of it never has any."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if collecting:
            gc.enable()


def from_json(text: bytes | str, shaped: bool = False) -> t.Any:
    """The value in a JSON text; of two keys of one name the last counts, as for everybody. Raises OutsideError.

    `shaped` says that the caller goes through all of it and counts levels itself: in a large document that takes as long as to parse it.
    """
    try:
        data = text.encode("utf-8") if isinstance(text, str) else text
        if len(data) > BYTES:
            raise OutsideError(f"it holds more than {BYTES} bytes")
        _check_size(data, shaped)
        suspect: list[str] = []
        value = _decoder(suspect).decode(data.decode("utf-8") if isinstance(text, bytes) else text)
    except OutsideError:
        raise
    except RecursionError as error:
        raise OutsideError(f"it holds more than {DEPTH} levels") from error
    except ValueError as error:
        raise OutsideError(f"it is not JSON: {error}") from error
    if suspect or _HALF.search(data):
        check_plain(value)
    return value


_HALF = re.compile(rb"\\u[dD]")
"""What half of a surrogate pair begins with."""


def _decoder(suspect: list[str]) -> json.JSONDecoder:
    """Notes what Python's own takes for a number and JSON does not: NaN, and what is more than any number."""

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            suspect.append(text)
        return value

    return json.JSONDecoder(parse_float=number, parse_constant=number)


def _check_size(data: bytes, shaped: bool) -> None:
    """Raises OutsideError for JSON of too many values or levels, before anything is made of it."""
    at_most = _values(data)
    if at_most <= (VALUES if shaped else DEPTH):
        return
    marks = _marks(data)
    if _values(marks) > VALUES:
        raise OutsideError(f"it holds more than {VALUES} values")
    marks = marks.translate(None, b",")
    for _level in range(DEPTH):
        if not marks:
            return
        marks = marks.replace(b"{}", b"").replace(b"[]", b"")
    if marks.translate(None, b"}]"):  # what only closes is no JSON, which the parser says better
        raise OutsideError(f"it holds more than {DEPTH} levels")


_NO_MARKS = bytes(set(range(256)) - set(b'"[]{},'))


def _marks(data: bytes) -> bytes:
    """What of JSON stands outside of text and says how many values there are, and how deep: brackets and commas. All at the speed of C."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(data.translate(None, _NO_MARKS).split(b'"')[::2])


def _values(marks: bytes) -> int:
    return sum(map(marks.count, (b",", b"{", b"[")))


def size_of_json(data: bytes) -> int:
    """How many values from_json() will count in `data`, which is JSON; of a part of it likewise."""
    return _values(_marks(data))


# ---------------------------------------------------------------------------------------------------------------------
# What others have parsed


def check_plain(value: t.Any, path: str = "") -> None:
    """Raises OutsideError, which names the path below `path`, for what is not plain data within the limits."""
    level: list[tuple[str, t.Any]] = [(path, value)]
    left = VALUES
    for depth in range(DEPTH + 1):
        left -= len(level)
        if left < 0:
            raise OutsideError(f"it holds more than {VALUES} values")
        inner: list[tuple[str, t.Any]] = []
        for where, item in level:
            if depth == DEPTH and isinstance(item, (dict, list)):
                raise OutsideError(f"{where[:60]}...: wanted at most {DEPTH} levels")
            if isinstance(item, dict):
                for key, part in item.items():
                    if not isinstance(key, str):
                        raise OutsideError(f"{where or 'it'}: wanted text for a key, found {str(key)[:60]}")
                    _check_leaf(key, where)
                    inner.append((f"{where}.{key[:60]}" if where else key[:60], part))
            elif isinstance(item, list):
                inner.extend((f"{where}[{number}]", part) for number, part in enumerate(item))
            else:
                _check_leaf(item, where)
        level = inner


def _check_leaf(value: t.Any, where: str) -> None:
    at = where or "it"
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise OutsideError(f"{at}: wanted text, found half of a surrogate pair in it: {error}") from error
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise OutsideError(f"{at}: wanted a number that JSON has, found {value}")
    elif isinstance(value, int):
        if value.bit_length() > BITS:
            raise OutsideError(f"{at}: wanted a number that JSON has, found one of more than {BITS} bits")
    elif value is not None:
        raise OutsideError(f"{at}: wanted plain data, found a value of the type {type(value).__name__}")


def as_text(text: str) -> str:
    """`text` with U+FFFD in the place of halves of surrogate pairs, which no file can hold."""
    if text.isascii():
        return text
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


# ---------------------------------------------------------------------------------------------------------------------
# YAML, as sigs.k8s.io/yaml reads it: Kubernetes, and Istio its mesh configuration


class _Node(t.NamedTuple):
    """A part of a document before anything is made of it. `value` is text, a list of nodes, or a list of pairs of them."""

    kind: str
    tag: str | None
    value: t.Any
    line: int


def from_yaml(text: bytes | str) -> list[t.Any]:
    """The documents in a YAML text, but empty ones. Raises OutsideError."""
    made = _Making()
    return [made.value(node) for node in _documents(text) if not (node.kind == "text" and _is_null(node))]


def fields_of_yaml(text: bytes | str, names: t.Iterable[str]) -> dict[str, t.Any]:
    """What the one mapping in a YAML text says of `names`; nothing else in it is made. Raises OutsideError."""
    documents = [node for node in _documents(text) if not (node.kind == "text" and _is_null(node))]
    if not documents:
        return {}
    if len(documents) > 1:
        raise OutsideError(f"line {documents[1].line}: wanted one document, found another")
    made = _Making()
    found = made.pairs(documents[0], strict=False)
    return {name: made.value(found[name], 1) for name in names if name in found}


def _documents(text: bytes | str) -> list[_Node]:
    import yaml

    try:
        data = text.encode("utf-8") if isinstance(text, str) else text
        if len(data) > YAML_BYTES:
            raise OutsideError(f"it holds more than {YAML_BYTES} bytes")
        data.decode("utf-8")
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(data)
        try:
            return list(_composed(loader))
        finally:
            loader.dispose()
    except OutsideError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(filter(None, (error.context, error.problem)))
        raise OutsideError(f"it is not YAML: {f'line {mark.line + 1}: ' if mark else ''}{said}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OutsideError(f"it is not YAML: {' '.join(str(error).split())}") from error


def _composed(loader: t.Any) -> t.Iterator[_Node]:
    """The documents as nodes. An alias is the node that it stands for, so this takes no more room than the text. Raises yaml.YAMLError."""
    import yaml

    loader.get_event()
    while not isinstance(loader.get_event(), yaml.StreamEndEvent):
        anchors: dict[str, _Node] = {}
        yield _node(loader, loader.get_event(), anchors, 0)
        loader.get_event()


def _node(loader: t.Any, event: t.Any, anchors: dict[str, _Node], depth: int) -> _Node:
    import yaml

    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise OutsideError(f"line {line}: the alias *{str(event.anchor)[:60]} stands for nothing, or for itself")
        return anchors[event.anchor]
    if depth > DEPTH:
        raise OutsideError(f"line {line}: it holds more than {DEPTH} levels")
    if isinstance(event, yaml.ScalarEvent):
        # What stands without quotes and without a tag is resolved; the tag `!` makes text of it.
        tag = event.tag or (None if event.implicit[0] else "tag:yaml.org,2002:str")
        node = _Node("text", tag, event.value, line)
    else:
        is_list = isinstance(event, yaml.SequenceStartEvent)
        parts: list[t.Any] = []
        while not isinstance(inner := loader.get_event(), yaml.CollectionEndEvent):
            parts.append(_node(loader, inner, anchors, depth + 1))
        if not is_list:
            parts = list(zip(parts[::2], parts[1::2]))
        node = _Node("list" if is_list else "mapping", event.tag, parts, line)
    if event.anchor:
        anchors[event.anchor] = node
    return node


class _Making:
    """Makes values of nodes, and counts them: an alias takes as much as what it stands for."""

    def __init__(self) -> None:
        self._values, self._characters = VALUES // 10, YAML_BYTES * 4

    def value(self, node: _Node, depth: int = 0) -> t.Any:
        self._take(node, 1)
        if depth > DEPTH:
            raise OutsideError(f"line {node.line}: it holds more than {DEPTH} levels")
        if node.kind == "mapping":
            return {key: self.value(part, depth + 1) for key, part in self.pairs(node).items()}
        if node.kind == "list":
            self._tagged(node, "seq")
            return [self.value(part, depth + 1) for part in node.value]
        self._characters -= len(node.value)
        return _scalar(node)

    def pairs(self, node: _Node, strict: bool = True, depth: int = 0) -> dict[str, _Node]:
        """The nodes of a mapping by key, those that `<<` merges into it last. Without `strict`, what stands under a key that is no text is left out."""
        if node.kind != "mapping":
            raise OutsideError(f"line {node.line}: wanted a mapping")
        self._tagged(node, "map")
        self._take(node, len(node.value))
        if depth > DEPTH:
            raise OutsideError(f"line {node.line}: it holds more than {DEPTH} levels")
        found: dict[str, _Node] = {}
        merged: list[_Node] = []
        for key, part in node.value:
            if key.kind == "text" and key.value == "<<" and key.tag in (None, "tag:yaml.org,2002:merge"):
                merged.extend(part.value if part.kind == "list" else [part])
            elif strict or key.kind == "text":
                name = _key(key)
                if name in found:
                    raise OutsideError(f"line {key.line}: the key {name[:60]!r} comes twice")
                found[name] = part
        for other in merged:
            for name, part in self.pairs(other, strict, depth + 1).items():
                found.setdefault(name, part)
        return found

    def _take(self, node: _Node, values: int) -> None:
        self._values -= values
        if self._values < 0 or self._characters < 0:
            raise OutsideError(f"line {node.line}: its aliases stand for more than is read")

    @staticmethod
    def _tagged(node: _Node, kind: str) -> None:
        if node.tag not in (None, "!", f"tag:yaml.org,2002:{kind}"):
            raise OutsideError(f"line {node.line}: the tag {_tag(node)} is none of plain data")


# resolve.go of sigs.k8s.io/yaml/goyaml.v2@v1.4.0. It leaves dates as text, and knows no numbers to the base of 60.
_WORDS: dict[str, t.Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys("y Y yes Yes YES true True TRUE on On ON".split(), True),
    **dict.fromkeys("n N no No NO false False FALSE off Off OFF".split(), False),
}
_WHOLE = re.compile(
    r"[-+]?(?:(?P<two>0[bB][01]+)|(?P<eight>0[oO]?[0-7]+)|(?P<sixteen>0[xX][0-9a-fA-F]+)|0|[1-9][0-9]*)"
)
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def _is_null(node: _Node) -> bool:
    return node.tag in (None, "tag:yaml.org,2002:null") and _WORDS.get(node.value, "") is None


def _key(node: _Node) -> str:
    value = _scalar(node) if node.kind == "text" else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise OutsideError(f"line {node.line}: wanted text for a key")


def _scalar(node: _Node) -> t.Any:
    """Raises OutsideError for what is no plain data, and for numbers that JSON does not have."""
    text, tag = node.value, (node.tag or "").replace("tag:yaml.org,2002:", "")
    if tag in ("str", "!"):
        return text
    value = _resolved(node)
    if not tag or type(value).__name__ == {"null": "NoneType"}.get(tag, tag):
        return value
    if tag == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise OutsideError(f"line {node.line}: the tag {_tag(node)} is none of plain data, or not of {text[:60]!r}")


def _resolved(node: _Node) -> t.Any:
    text = node.value
    if text in _WORDS:
        return _WORDS[text]
    if text[:1] not in "+-.0123456789" or not text:
        return text
    digits = text.replace("_", "")
    whole, number = _WHOLE.fullmatch(digits), _NUMBER.fullmatch(digits)
    if (whole or number) and len(digits) > DIGITS:
        raise OutsideError(f"line {node.line}: a number has more than {DIGITS} characters")
    value: float | None = None
    if whole:
        base = 2 if whole["two"] else 8 if whole["eight"] else 16 if whole["sixteen"] else 10
        count = int(digits, base)
        if -(1 << 63) <= count < 1 << 64:
            return count
        value = float(count) if base == 10 else None
    elif number:
        value = float(digits)
    if _NO_NUMBER.fullmatch(text) or (value is not None and not math.isfinite(value)):
        raise OutsideError(f"line {node.line}: {text[:60]} is no number that JSON has")
    return text if value is None else value


def _tag(node: _Node) -> str:
    return (node.tag or "").replace("tag:yaml.org,2002:", "!!")[:60]
