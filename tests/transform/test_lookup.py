"""From what users write to a transform."""

from __future__ import annotations

from typing import Any

import pytest

import inmf_flow
from inmf_flow.errors import ArgumentError, ConfigError, InmfError, UnknownNameError
from inmf_flow.registry import transforms
from inmf_flow.transform import get_transform, transform_from_mapping
from inmf_flow_stft.transform import Stft


def test_the_package_gives_the_same_function() -> None:
    assert inmf_flow.get_transform is get_transform


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (lambda: get_transform("stft"), {}),
        (lambda: get_transform("stft:n_fft=512"), {"n_fft": 512}),
        (lambda: get_transform("stft", n_fft=512), {"n_fft": 512}),
        (lambda: get_transform(" stft : n_fft = 512 , window=hann,"), {"n_fft": 512, "window": "hann"}),
        (lambda: get_transform("stft:n_fft=512,hop_length=64", n_fft=256), {"n_fft": 256, "hop_length": 64}),
        (lambda: get_transform("stft:n_fft=1e3,hop_length=none"), {"n_fft": 1000}),
        (lambda: get_transform("stft:window=kaiser(8.6)"), {"window": "kaiser(8.6)"}),
        (lambda: get_transform("stft:window=general_gaussian(1.5,300)"), {"window": "general_gaussian(1.5,300)"}),
        (lambda: transform_from_mapping({"stft": {"n_fft": 512}}), {"n_fft": 512}),
        (lambda: transform_from_mapping({"stft": None}), {}),
        (lambda: transform_from_mapping("stft:n_fft=512"), {"n_fft": 512}),
    ],
)
def test_every_way_of_writing_gives_the_transform(transform: Any, expected: dict[str, object]) -> None:
    found = transform()
    assert type(found) is Stft
    assert found.config == Stft(**expected).config


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("stfd", UnknownNameError, "no transform named 'stfd' is installed; expected one of .*stft.*mean 'stft'"),
        ("stft:nfft=512", ConfigError, "stft: bad options: nfft"),
        ("stft:n_fft=1", ConfigError, "n_fft: .*got 1"),
        ("stft:n_fft=two", ConfigError, "n_fft: .*got 'two'"),
        ("stft:n_fft=2.5", ConfigError, "n_fft: .*got 2.5"),
        ("stft:config=5", ConfigError, "config is of another transform"),
        ("stft:spec=5", ConfigError, "bad options: spec"),
        ("stft:n_fft", ArgumentError, "key=value"),
        ("", ArgumentError, "name is missing"),
        ({"stft": {"spec": 5}}, ConfigError, "bad options: spec"),
        ({"stft": 2048}, ArgumentError, "options of a choice are not a mapping"),
        ({"stft": {}, "cqt": {}}, ArgumentError, "one name"),
    ],
)
def test_what_cannot_be_understood_is_refused(spec: Any, error: type[InmfError], message: str) -> None:
    with pytest.raises(error, match=message):
        transform_from_mapping(spec)


def test_a_transform_that_somebody_registers_is_found() -> None:
    class Mine(Stft):
        name = "mine"

    transforms.register("mine", Mine)
    try:
        assert type(get_transform("mine:n_fft=64")) is Mine
    finally:
        transforms.unregister("mine")
    with pytest.raises(UnknownNameError):
        get_transform("mine")
