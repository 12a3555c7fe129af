# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked for, and a snapshot of what came."""

from __future__ import annotations

import gzip
import json
import math
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.meshops.istio_precheck.plugins.module_utils._model import outside
from ansible_collections.meshops.istio_precheck.plugins.module_utils._model.outside import (
    OutsideError,
    check_plain,
    fields_of_yaml,
    from_json,
    from_yaml,
    read_file,
)


def nested(levels, inner="{}"):
    return '{"a":' * (levels - 1) + inner + "}" * (levels - 1)


# ---------------------------------------------------------------------------------------------------------------------
# Files


def hung(path):
    """What reading the path ends with, None if it does not end."""
    said = []

    def read():
        try:
            said.append(read_file(path, 1000))
        except (OSError, OutsideError) as error:
            said.append(getattr(error, "strerror", None) or str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    return said[0] if said else None


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "lost").symlink_to("nowhere")
    (tmp_path / "itself").symlink_to("itself")
    assert hung(tmp_path / "pipe") == hung(tmp_path / "zero") == hung("/dev/zero") == "it is no file"
    assert hung(tmp_path) == "Is a directory"
    assert hung(tmp_path / "lost") == "No such file or directory"
    assert hung(tmp_path / "itself") == "Too many levels of symbolic links"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_has_a_size(tmp_path, pack):
    path = tmp_path / "file"
    path.write_bytes(pack(b"x" * 1000))
    assert read_file(path, 1000) == b"x" * 1000
    path.write_bytes(pack(b"x" * 1001))
    with pytest.raises(OutsideError, match="it holds more than 1000 bytes"):
        read_file(path, 1000)


@pytest.mark.parametrize(
    "data",
    [b"\x1f\x8b", b"\x1f\x8bxxxx", gzip.compress(b"x" * 1000, mtime=0)[:-9], gzip.compress(b"x", mtime=0) + b"y"],
)
def test_gzip_data_is_whole(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(OutsideError, match="it is not whole gzip data"):
        read_file(tmp_path / "file")


# ---------------------------------------------------------------------------------------------------------------------
# JSON


def values(text):
    number = st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        st.none() | st.booleans() | number | text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
        max_leaves=20,
    )


@given(values(st.text()))
def test_every_value_is_read_and_counted_as_it_is_whatever_its_texts_hold(value):
    for text in (json.dumps(value), json.dumps(value, indent=1), json.dumps(value, ensure_ascii=False)):
        assert from_json(text) == from_json(text.encode()) == value
        assert outside.size_of_json(text.encode()) == outside.size_of_json(json.dumps(strange(value)).encode())
    check_plain(value)


def strange(value):
    """The same, with brackets, commas, quotes and backslashes in its texts."""
    if isinstance(value, str):
        return '{[,"\\,"}]\\'
    if isinstance(value, list):
        return [strange(item) for item in value]
    return (
        {f'{number}{{[,"\\': strange(item) for number, item in enumerate(value.values())}
        if isinstance(value, dict)
        else value
    )


def test_what_is_in_a_text_is_no_value():
    many = outside.VALUES + 10
    for text in ("," * many, '[{"' * many, "\\" * many + "[" * 1000, '\\"' * many):
        assert from_json(json.dumps({"stdout": text})) == {"stdout": text}


@pytest.mark.parametrize(
    "text, message",
    [
        ("[" + "{}," * outside.VALUES + "{}]", "it holds more than 5000000 values"),
        ("[" * 101, "it holds more than 100 levels"),
        (nested(101), "it holds more than 100 levels"),
        (nested(101, "[]"), "it holds more than 100 levels"),
        ('{"a": [' * 100 + "]}" * 100, "it holds more than 100 levels"),
        ("[" * 10_000_000, "it holds more than"),
        ("]" * 1000, "it is not JSON: "),
        ('"' * 1001, "it is not JSON: "),
        ('{"a": [0, NaN]}', r"a\[1\]: wanted a number that JSON has, found nan"),
        ('{"a": {"b": -Infinity}}', "a.b: wanted a number that JSON has, found -inf"),
        ("1e999", "it: wanted a number that JSON has, found inf"),
        ("9" * 5000, "it is not JSON: "),
        ('{"a": "\\ud800"}', "a: wanted text, found half of a surrogate pair in it"),
        ('{"\\uDFFF": 1}', "it: wanted text, found half of a surrogate pair in it"),
        ("\ud800", "it is not JSON: 'utf-8' codec can't encode"),
        (b"\xff", "it is not JSON: 'utf-8' codec can't decode"),
        ("\ufeff{}", "it is not JSON: "),
        ("", "it is not JSON: "),
        ("{'a': 1}", "it is not JSON: "),
    ],
    ids=range(19),
)
def test_what_is_not_read_says_why_and_where(text, message):
    with pytest.raises(OutsideError, match=message) as error:
        from_json(text)
    assert len(str(error.value)) < 300


def test_what_is_just_within_the_limits_is_read():
    check_plain(json.loads(nested(100, "[1]")))
    assert from_json(nested(100)) == json.loads(nested(100))
    assert from_json("[" + nested(99) + ",[]]")[1] == []
    assert from_json("[" + "0," * (outside.VALUES - 2) + "0]")


class Text(str):
    """As ansible-core tags text."""


@pytest.mark.parametrize(
    "value, message",
    [
        ({"a": [{1: 2}]}, r"a\[0\]: wanted text for a key, found 1"),
        ({"a": math.inf}, "a: wanted a number that JSON has, found inf"),
        ({"a": {"b": {1, 2}}}, "a.b: wanted plain data, found a value of the type set"),
        ({"a": b"x"}, "a: wanted plain data, found a value of the type bytes"),
        ({"a": "\udcff"}, "a: wanted text, found half of a surrogate pair"),
        ({"\udcff": 1}, "it: wanted text, found half of a surrogate pair"),
        ({"a": 1 << 2000}, "a: wanted a number that JSON has, found one of more than 1024 bits"),
        ({"a": 1 << 20_000}, "a: wanted a number that JSON has, found one of more than 1024 bits"),
        (json.loads(nested(101)), "wanted at most 100 levels"),
    ],
)
def test_what_others_parsed_is_checked_likewise(value, message):
    with pytest.raises(OutsideError, match=message):
        check_plain(value)
    check_plain({"a": Text("b")})


# ---------------------------------------------------------------------------------------------------------------------
# YAML


@given(values(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)))
def test_json_is_yaml(value):
    assert from_yaml(json.dumps({"a": value})) == [{"a": value}]


SCALARS = {
    "text": "text",
    "'5'": "5",
    '"true"': "true",
    "! 5": "5",
    "!!str 5": "5",
    "5": 5,
    "-5": -5,
    "+5": 5,
    "0": 0,
    "0x1F": 31,
    "017": 15,
    "0o17": 15,
    "0b11": 3,
    "1_000": 1000,
    "08": 8.0,
    "1.5": 1.5,
    ".5": 0.5,
    "1.": 1.0,
    "1e3": 1000.0,
    "18446744073709551615": (1 << 64) - 1,
    "18446744073709551616": float(1 << 64),
    "~": None,
    "null": None,
    "": None,
    "Null": None,
    "nULL": "nULL",
    "yes": True,
    "y": True,
    "On": True,
    "off": False,
    "N": False,
    "oN": "oN",
    "2020-01-01": "2020-01-01",
    "2020-01-01T00:00:00Z": "2020-01-01T00:00:00Z",
    "1:30": "1:30",
    "190:20:30.15": "190:20:30.15",
    "127.0.0.1:8080": "127.0.0.1:8080",
    "1.24": 1.24,
    "1.24.0": "1.24.0",
    "-": "-",
    "+": "+",
    ".": ".",
    "_": "_",
    "0x": "0x",
    "=": "=",
    "<<": "<<",
    "!!int 5": 5,
    "!!float 5": 5.0,
    "!!bool yes": True,
    "!!null ~": None,
}


@pytest.mark.parametrize("text", SCALARS)
def test_a_word_of_yaml_is_what_kubernetes_takes_it_for(text):
    wanted = SCALARS[text]
    (found,) = from_yaml(f"a: {text}" if text != "-" else "a: '-'")
    assert found == {"a": wanted} and type(found["a"]) is type(wanted)


def test_keys_are_text():
    assert from_yaml("1: a\ntrue: b\nx: c") == [{"1": "a", "true": "b", "x": "c"}]


def test_empty_documents_are_none():
    assert from_yaml("") == from_yaml("---\n---\n# x\n") == from_yaml("null") == []
    assert from_yaml("---\na: b\n---\n---\n- c\n...\n") == [{"a": "b"}, ["c"]]


ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
MERGES = "a0: &a0 {x: y}\n" + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 30))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))
LONG = f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 5000)}]\n"


@pytest.mark.parametrize(
    "text, message",
    [
        (ALIASES, r"line \d+: its aliases stand for more than is read"),
        (MERGES, r"line \d+: its aliases stand for more than is read"),
        (LONG, r"line \d+: its aliases stand for more than is read"),
        (CHAIN, r"line \d+: it holds more than 100 levels"),
        ("a: &a [*a]", r"line 1: the alias \*a stands for nothing, or for itself"),
        ("a: &a {<<: *a}", r"line 1: the alias \*a stands for nothing, or for itself"),
        ("a: *b", r"line 1: the alias \*b stands for nothing"),
        ("- " * 200 + "x", "it holds more than 100 levels"),
        ("{a: " * 100_000, "levels|nesting"),
        ("x" * (outside.YAML_BYTES + 1), "it holds more than 4194304 bytes"),
        ("a: b\nc: d\na: e", "line 3: the key 'a' comes twice"),
        ("a: {1: b, '1': c}", "line 1: the key '1' comes twice"),
        ("a: {[b]: c}", "line 1: wanted text for a key"),
        ("a: {1.5: c}", "line 1: wanted text for a key"),
        ("a: {null: c}", "line 1: wanted text for a key"),
        ("a: {<<: b}", "line 1: wanted a mapping"),
        ("a: .nan", "line 1: .nan is no number that JSON has"),
        ("a: -.inf", "line 1: -.inf is no number that JSON has"),
        ("a: 1e400", "line 1: 1e400 is no number that JSON has"),
        (f"a: {'9' * 401}", "line 1: a number has more than 400 characters"),
        ("a: !!binary aGk=", "line 1: the tag !!binary is none of plain data"),
        ("a: !!set {b}", "line 1: the tag !!set is none of plain data"),
        ("a: !!omap [b: c]", "line 1: the tag !!omap is none of plain data"),
        ("a: !!timestamp 2020-01-01", "line 1: the tag !!timestamp is none of plain data"),
        ("a: !!int x", "line 1: the tag !!int is none of plain data, or not of 'x'"),
        ("a: !x y", "line 1: the tag !x is none of plain data"),
        ("a: !!python/object/apply:os.system [id]", "line 1: the tag !!python/object/apply:os.system is none"),
        ("a: !!python/name:os.system x", "line 1: the tag !!python/name:os.system is none"),
        ("a: {", "it is not YAML: line 2: "),
        ("a: \x00", "it is not YAML: "),
        ("a: \x1b[2J", "it is not YAML: "),
        ("a: \ud800", "it is not YAML: "),
        (b"a: \xff", "it is not YAML: "),
        ("%YAML 3.0\n---\na: b", "it is not YAML: "),
        ("\t- a: b\n\t  c", "it is not YAML: "),
    ],
    ids=range(35),
)
def test_yaml_that_is_no_plain_data_within_the_limits_is_refused_with_its_line(text, message):
    with pytest.raises(OutsideError, match=message) as error:
        from_yaml(text)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_a_modest_use_of_aliases_and_merges_is_read():
    text = "base: &base {a: 1, b: &b [x]}\none: {<<: *base, a: 2}\ntwo: {<<: [{a: 3}, *base], c: *b}\n"
    assert from_yaml(text) == [
        {"base": {"a": 1, "b": ["x"]}, "one": {"a": 2, "b": ["x"]}, "two": {"a": 3, "b": ["x"], "c": ["x"]}}
    ]
    document = from_yaml("a: &a [x]\nb: *a")[0]
    assert document["a"] is not document["b"]


def test_of_one_mapping_only_what_is_asked_for_is_made():
    text = ALIASES + "? [x]\n: y\nw: !!set {x}\nmode: 5\n"
    assert fields_of_yaml(text, ["mode", "none"]) == {"mode": 5}
    assert fields_of_yaml("", ["mode"]) == fields_of_yaml("# x", ["mode"]) == {}
    with pytest.raises(OutsideError, match="its aliases stand for more"):
        fields_of_yaml(text, ["a29"])
