"""The transform keeps every promise of the contract, by default and with short frames."""

from __future__ import annotations

from typing import ClassVar

from inmf_flow import get_transform
from inmf_flow.testing import TransformConformance

from my_transform.transform import MyTransform


class TestMyTransform(TransformConformance):
    transform = MyTransform


class TestShortFrames(TransformConformance):
    transform = MyTransform
    options: ClassVar = {"frame": 0.008}


def test_it_is_found_by_its_name() -> None:
    assert isinstance(get_transform("my_transform:frame=0.1"), MyTransform)
