"""Tables of names, and how users write a name with options."""

from __future__ import annotations

import string
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.errors import ArgumentError, UnknownNameError
from inmf_flow.registry import Table, divergences, fields, metrics, parse_choice, parse_spec, transforms

NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.sampled_from(["sqrt_hann", "kaiser(8.6)", "general_gaussian(1.5,300)", "a/b.c", "x=y", ""]),
)


def test_entries_are_found_by_name_and_listed_in_order() -> None:
    table: Table[object] = Table("thing")
    table.register("b", one := object())
    table.register("a", other := object())
    assert (table.get("b"), table.get("a")) == (one, other)
    assert table.names() == list(table) == ["a", "b"]
    assert "a" in table
    assert "c" not in table


def test_a_name_that_is_taken_is_refused_and_keeps_its_entry() -> None:
    table: Table[object] = Table("thing")
    table.register("a", one := object())
    table.register("a", one)
    with pytest.raises(ArgumentError, match=r"a thing named 'a' is already registered.*give yours another name"):
        table.register("a", object())
    assert table.get("a") is one


def test_an_entry_can_be_forgotten() -> None:
    table: Table[object] = Table("thing")
    table.register("a", object())
    table.unregister("a")
    table.unregister("never there")
    with pytest.raises(UnknownNameError):
        table.get("a")
    table.register("a", other := object())
    assert table.get("a") is other


@pytest.mark.parametrize(
    ("table", "name", "near"),
    [
        (transforms, "stff", "stft"),
        (fields, "hats", "hat"),
        (divergences, "kullback-leibner", "kullback-leibler"),
        (metrics, "sisdr", "si_sdr"),
    ],
)
def test_an_unknown_name_gets_the_nearest_and_the_list(table: Table[Any], name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        table.get(name)
    assert caught.value.hint is not None
    assert f"Did you mean '{near}'?" in caught.value.hint
    assert set(table.names()) <= set(str(caught.value.expected).removeprefix("one of ").split(", "))


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(UnknownNameError, match="one of") as caught:
        transforms.get("qqqq")
    assert "Did you mean" not in str(caught.value)


def test_an_empty_table_says_that_nothing_is_installed() -> None:
    table: Table[object] = Table("thing")
    with pytest.raises(UnknownNameError, match="expected an installed plugin"):
        table.get("a")


@pytest.mark.parametrize("table", [fields, divergences, metrics], ids=lambda table: table.kind)
def test_every_built_in_name_has_an_entry(table: Table[Any]) -> None:
    assert table.built_in
    for name in table.built_in:
        assert table.get(name) is not None


@pytest.mark.parametrize(("table", "name"), [(fields, "hat"), (divergences, "kullback-leibler"), (metrics, "sdr")])
def test_built_in_names_are_taken_before_they_are_imported(table: Table[Any], name: str) -> None:
    fresh: Table[Any] = Table(table.kind, table.home, table.built_in)
    with pytest.raises(ArgumentError, match="built in"):
        fresh.register(name, test_built_in_names_are_taken_before_they_are_imported)


def test_listing_names_imports_no_heavy_library() -> None:
    code = (
        "import sys; from inmf_flow.registry import fields, divergences, metrics, transforms\n"
        "names = [table.names() for table in (fields, divergences, metrics, transforms)]\n"
        "assert all(names), names\n"
        "print(*sorted({'torch', 'scipy', 'librosa', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@given(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), st.sampled_from(["", " ", "  "]))
def test_what_is_written_as_a_spec_is_read_back(name: str, options: dict[str, Any], space: str) -> None:
    written = f",{space}".join(f"{key}{space}={space}{value}" for key, value in options.items())
    read_name, read = parse_spec(f"{space}{name}{space}:{space}{written}")
    assert read_name == name
    assert read == options
    assert {key: type(value) for key, value in read.items()} == {key: type(value) for key, value in options.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stft", ("stft", {})),
        ("stft:", ("stft", {})),
        ("stft:a=1,", ("stft", {"a": 1})),
        ("stft:a=1e3", ("stft", {"a": 1000.0})),
        ("stft:a=TRUE,b=null,c=-2", ("stft", {"a": True, "b": None, "c": -2})),
        (
            "stft:window=general_gaussian(1.5,300),n_fft=8",
            ("stft", {"window": "general_gaussian(1.5,300)", "n_fft": 8}),
        ),
        ("stft:a=f(1,2),b=g(3,4),c=5", ("stft", {"a": "f(1,2)", "b": "g(3,4)", "c": 5})),
        ("stft:url=http://x:1", ("stft", {"url": "http://x:1"})),
    ],
)
def test_specs_are_read_as_users_mean_them(text: str, expected: tuple[str, dict[str, object]]) -> None:
    assert parse_spec(text) == expected


@pytest.mark.parametrize("text", ["stft:n_fft", "stft:=3", "stft:a=1,b", "stft: =3"])
def test_an_option_without_a_key_or_a_value_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="not of the form key=value") as caught:
        parse_spec(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", "  ", ":n_fft=2"])
def test_a_spec_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(ArgumentError, match="the name is missing"):
        parse_spec(text)


def test_a_choice_is_a_spec_or_a_mapping() -> None:
    assert parse_choice("hat:points=40") == parse_choice({"hat": {"points": 40}}) == ("hat", {"points": 40})
    assert parse_choice({"hat": None}) == parse_choice({"hat": {}}) == ("hat", {})


def test_options_of_a_choice_are_a_copy() -> None:
    given_options: dict[str, object] = {"points": 40}
    parse_choice({"hat": given_options})[1]["points"] = 1
    assert given_options == {"points": 40}


@pytest.mark.parametrize(
    "choice", [{}, {"a": {}, "b": {}}, 5, None, ["stft"], {"stft": 5}, {"stft": [1]}, {"stft": {1: 2}}, {"stft": "x"}]
)
def test_any_other_choice_is_refused(choice: Any) -> None:
    with pytest.raises(ArgumentError, match="choice"):
        parse_choice(choice)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"given twice.*fmin"):
        parse_spec("cqt:fmin=20,fmin=300")
