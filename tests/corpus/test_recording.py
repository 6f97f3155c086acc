"""Recordings are values: they compare, travel between processes and do not change."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import pytest

from inmf_flow.corpus import Recording
from inmf_flow.errors import ArgumentError

SEGMENT = Recording("talk", Path("a/b.wav"), 1.5, 3.0, {"speaker": "Ada", "age": 36})


def test_a_recording_is_what_it_was_made_of() -> None:
    assert (SEGMENT.item, SEGMENT.path, SEGMENT.start, SEGMENT.stop) == ("talk", Path("a/b.wav"), 1.5, 3.0)
    assert SEGMENT.metadata == {"speaker": "Ada", "age": 36}
    assert SEGMENT.is_segment
    whole = Recording("talk", "a/b.wav")
    assert (whole.path, whole.start, whole.stop, whole.metadata, whole.is_segment) == (
        Path("a/b.wav"),
        None,
        None,
        {},
        False,
    )


def test_equal_parts_make_equal_recordings() -> None:
    same = Recording("talk", "a/b.wav", 1.5, 3.0, {"speaker": "Ada", "age": 36})
    assert same == SEGMENT
    assert hash(same) == hash(SEGMENT)
    others = [
        Recording("talk 2", "a/b.wav", 1.5, 3.0, same.metadata),
        Recording("talk", "a/c.wav", 1.5, 3.0, same.metadata),
        Recording("talk", "a/b.wav", None, 3.0, same.metadata),
        Recording("talk", "a/b.wav", 1.5, None, same.metadata),
        Recording("talk", "a/b.wav", 1.5, 3.0, {"speaker": "Ada"}),
        ("talk", "a/b.wav"),
    ]
    assert not [other for other in others if other == SEGMENT]


def test_recordings_are_pickled_and_shown() -> None:
    assert pickle.loads(pickle.dumps(SEGMENT)) == SEGMENT
    assert eval(repr(SEGMENT)) == SEGMENT
    assert repr(Recording("a", "a.wav")) == "Recording('a', 'a.wav')"


def test_recordings_do_not_change() -> None:
    for name in ("item", "path", "start", "metadata", "other"):
        with pytest.raises(AttributeError):
            setattr(SEGMENT, name, None)
    with pytest.raises(AttributeError):
        del SEGMENT.item
    SEGMENT.metadata["speaker"] = "Bob"
    assert SEGMENT.metadata["speaker"] == "Ada"


@pytest.mark.parametrize(
    "limits", [(-1, None), (None, 0), (2, 2), (3, 1), (math.nan, None), (None, math.nan), (0, math.inf)]
)
def test_limits_that_make_no_segment_are_refused(limits: tuple[Any, Any]) -> None:
    with pytest.raises(ArgumentError, match="this is not a segment"):
        Recording("a", "a.wav", *limits)
