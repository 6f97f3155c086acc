"""One rule for names that become files' names, in pipelines and on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inmf_flow.errors import ArgumentError
from inmf_flow.names import NAME_RULE, check_name, is_name


@pytest.mark.parametrize("name", ["a", "bob jr.", "_x", "-x", "ä 1", "日本", "a" * 120, "x..y"])
def test_names_of_files(name: str) -> None:
    assert check_name(name, "--model") == name


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", ".a", " a", "a ", "a/b", "a\\b", "a\nb", "a\0b", "a:b", "a" * 121, "é" * 61, "a\u2028"]
)
def test_what_could_not_be_a_files_name(name: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        check_name(name, "--model")
    assert str(caught.value) == f"--model: the name becomes a file's name; got {name!r}; expected {NAME_RULE}"


@given(st.text())
def test_a_name_is_one_visible_part_of_a_path(name: str) -> None:
    if is_name(name):
        assert name.isprintable()
        assert not set(name) & set('/\\:*?"<>|')
        assert name[0] not in ". "
        assert name[-1] != " "
        assert len(name.encode()) <= 120
