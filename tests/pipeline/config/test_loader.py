from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inmf_flow.pipeline.config import PipelineFileError, load_pipeline
from inmf_flow.pipeline.config.loader import MAX_ALIASES, MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_text

Problems = Callable[..., list[str]]


def data(text: str) -> Any:
    document = parse_text(text, "t.yaml")
    assert document.problems == []
    return document.data


def complaints(text: str) -> list[str]:
    return [str(problem) for problem in parse_text(text, "t.yaml").problems]


def refusal(text: str) -> str:
    with pytest.raises(PipelineFileError) as caught:
        parse_text(text, "t.yaml")
    assert len(caught.value.problems) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000", 1000),
        ("0x10", 16),
        ("-7", -7),
        (".inf", float("inf")),
        ("'1e-3'", "1e-3"),
        ("!!str 12", "12"),
        ("~", None),
        ("", None),
        ("Yes", True),
        ("off", False),
        ("y", "y"),
        ("none", "none"),
        ("2024-02-31", "2024-02-31"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_read_as_a_person_means_them(text: str, value: object) -> None:
    assert data(f"a: {text}") == {"a": value}
    assert type(data(f"a: {text}")["a"]) is type(value)


def test_every_key_and_value_has_its_position() -> None:
    places = parse_text("a:\n  - x\n  - {b: 1}\n", "t.yaml").places
    assert places.keys["a",] == (1, 1)
    assert places.values["a", 0] == (2, 5)
    assert places.keys["a", 1, "b"] == (3, 6)
    assert places.values["a", 1, "b"] == (3, 9)


def test_aliases_and_merges_are_plain_copies() -> None:
    read = data("a: &a {x: 1, y: [2]}\nb: *a\nc: {<<: *a, x: 3}\nd:\n  <<: [{x: 5}, *a]\n")
    assert read["b"] == read["a"]
    assert read["b"] is not read["a"]
    assert read["c"] == {"x": 3, "y": [2]}
    assert read["d"] == {"x": 5, "y": [2]}


def test_duplicate_keys_are_collected_and_the_first_counts() -> None:
    document = parse_text("a: 1\nb: {c: 1, c: 2, c: 3}\na: 4\n", "t.yaml")
    assert document.data == {"a": 1, "b": {"c": 1}}
    assert sorted(map(str, document.problems)) == [
        "t.yaml:2:11: duplicate key 'c', first given in line 2",
        "t.yaml:2:17: duplicate key 'c', first given in line 2",
        "t.yaml:3:1: duplicate key 'a', first given in line 1",
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no: 1", "t.yaml:1:1: YAML reads the key no as false, expected text: put it in quotes"),
        ("3: 1", "t.yaml:1:1: YAML reads the key 3 as 3, expected text: put it in quotes"),
        ("~: 1", "t.yaml:1:1: YAML reads the key ~ as null, expected text: put it in quotes"),
        ("? [a]\n: 1", "t.yaml:1:3: a key is not text, got a list or a mapping, expected a name"),
        ("<<: 1", "t.yaml:1:5: '<<' takes the alias of a mapping or a list of them"),
        ("<<: [{}, x]", "t.yaml:1:10: '<<' takes the alias of a mapping or a list of them"),
        (
            "<<: {a: 1}\n<<: {b: 1}",
            "t.yaml:2:1: duplicate key '<<', expected one with a list: '<<: [*a, *b]'",
        ),
        ('a: "\\ud800"', "t.yaml:1:4: the text holds half a surrogate pair, expected whole characters"),
    ],
)
def test_what_the_data_cannot_hold_is_collected(text: str, what: str) -> None:
    assert complaints(text) == [what]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['true']", "!!set {a}", "!x 1", "!!binary eA=="])
def test_tags_are_refused_and_nothing_is_built(tag: str) -> None:
    (what,) = complaints(f"a: {tag}")
    assert what.startswith("t.yaml:1:4: the tag '!")
    assert "is not allowed, expected plain values" in what


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "a: [1",
            "t.yaml:1:6: not valid YAML: while parsing a flow sequence, expected ',' or ']', but got the end",
        ),
        ("a: 1\n\tb: 2", "t.yaml:2:1: not valid YAML: "),
        ("a: *.wav", "t.yaml:1:5: not valid YAML: "),
        (
            "a: *b",
            "t.yaml:1:4: not valid YAML: found undefined alias 'b'; put text that begins with * in quotes",
        ),
        (
            "a: 1\n---\nb: 1",
            "t.yaml:2:1: a second YAML document begins here, expected one document in the file",
        ),
        ("ab: \0", "t.yaml:1:5: not YAML: special characters are not allowed"),
        ('a: "\\UFFFFFFFF"', "t.yaml:1:7: not valid YAML: a number or an escape is out of range"),
        ("%YAML 1." + "1" * 5000, "t.yaml:1:9: not valid YAML: a number or an escape is out of range"),
        ("&a [*a]", "t.yaml:1:1: an alias refers to something that contains it"),
        ("a: &a\n  <<: *a", "t.yaml:1:4: an alias refers to something that contains it"),
    ],
)
def test_syntax_errors_stop_with_one_place(text: str, what: str) -> None:
    assert refusal(text).startswith(what)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_nesting_is_bounded(opening: str) -> None:
    assert f"nested more than {MAX_DEPTH} levels deep" in refusal(opening * 100_000)


def test_aliases_cannot_nest_deeper_than_written() -> None:
    lines = ["a0: &a0 [" + "[" * 20 + "]" * 20 + "]"]
    lines += [f"a{i}: &a{i} {'[' * 20}*a{i - 1}{']' * 20}" for i in range(1, 90)]
    assert f"nested more than {MAX_DEPTH} levels deep" in refusal("\n".join(lines))


def test_billion_laughs_are_refused_at_once() -> None:
    lines = ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    start = time.perf_counter()
    assert f"more than {MAX_NODES} values" in refusal("\n".join(lines))
    assert time.perf_counter() - start < 2


def test_a_chain_of_merges_is_refused_at_once() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 5)}]}}" for i in range(1, 19)]
    start = time.perf_counter()
    assert f"more than {MAX_NODES} values" in refusal("\n".join(lines))
    assert time.perf_counter() - start < 2


def test_the_number_of_aliases_is_bounded() -> None:
    text = "a: &a 1\nb: [" + ", ".join(["*a"] * MAX_ALIASES)
    assert data(text + "]")["b"] == [1] * MAX_ALIASES
    assert f"more than {MAX_ALIASES} aliases" in refusal(text + ", *a]")


def test_too_many_values_are_refused() -> None:
    assert f"more than {MAX_NODES} values" in refusal("a: [" + "1," * MAX_NODES + "]")


def test_a_byte_order_mark_is_no_text(load: Callable[..., Any], valid: str) -> None:
    assert load(b"\xef\xbb\xbf" + valid.encode()).name == "two-speakers"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"name: a\nx: \xc3\xa9\xff", "p.yaml:2:5: not UTF-8 text, got byte 0xff"),
        ("name: x".encode("utf-16"), "p.yaml:1:1: not UTF-8 text, got byte 0xff"),
        (b"", "p.yaml:1:1: the file is empty, expected keys such as 'name: ...'"),
        (b"# nothing\n", "p.yaml:1:1: the file is empty, expected keys such as 'name: ...'"),
        (b"\n- a", "p.yaml:2:1: the top of the file is not a mapping, expected keys such as 'name: ...'"),
        (b"#" * (MAX_BYTES + 1), f"p.yaml: the pipeline file is too big, expected at most {MAX_BYTES} bytes"),
    ],
)
def test_files_that_hold_no_mapping(problems: Problems, content: bytes, what: str) -> None:
    assert problems(content) == [what]


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineFileError, match=r"none\.yaml: the pipeline file cannot be read, got 'No such file"):
        load_pipeline(tmp_path / "none.yaml")
    with pytest.raises(PipelineFileError, match="cannot be read"):
        load_pipeline(tmp_path)
    with pytest.raises(PipelineFileError, match="cannot be read"):
        load_pipeline("a\0b.yaml")
