"""What every transform inherits: options, errors, and how audio is taken in."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import Field, ValidationError

from inmf_flow.errors import ConfigError, TransformError
from inmf_flow.points import PointSet
from inmf_flow.transform import Span, Transform, TransformConfig, as_channels


class LevelsConfig(TransformConfig):
    size: int = Field(4, ge=1, le=100)
    share: float = Field(0.5, gt=0)


class Levels(Transform):
    """The smallest transform: one point for every sample, no inverse."""

    name = "levels"
    Config: ClassVar[type[TransformConfig]] = LevelsConfig

    def halo(self, sample_rate: int) -> tuple[int, int]:
        return 0, 0

    def analyze(self, audio: Any, sample_rate: int, *, span: Span | None = None) -> PointSet:
        samples, _ = as_channels(audio, self.name)
        return PointSet.from_grid(np.arange(samples.shape[1]) / sample_rate, [0.0], np.abs(samples[:, None]))


class OtherConfig(TransformConfig):
    pass


def test_options_and_a_config_say_the_same() -> None:
    assert Levels(size=7).config == Levels(LevelsConfig(size=7)).config
    assert Levels().config == LevelsConfig()


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Levels().config.size = 5  # type: ignore[attr-defined]


def test_every_wrong_option_is_named_with_what_was_given() -> None:
    with pytest.raises(ConfigError) as caught:
        Levels(size=0, share="much", sice=3)
    message = str(caught.value)
    assert message.startswith("levels: bad options: ")
    for part in ("size: ", "got 0", "share: ", "got 'much'", "sice: ", "got 3", "expected some of size, share"):
        assert part in message


def test_options_beside_a_config_are_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        Levels(LevelsConfig(), size=3)


@pytest.mark.parametrize("config", [OtherConfig(), 5, {"size": 3}])
def test_the_config_of_another_transform_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match=f"of another transform; got {type(config).__name__}"):
        Levels(config)


def test_without_an_inverse_synthesis_says_so() -> None:
    levels = Levels()
    assert (levels.invertible, levels.min_snr_db) == ("none", None)
    with pytest.raises(TransformError, match="levels: this transform has no inverse"):
        levels.synthesize(levels.analyze(np.ones(4), 4))


def test_the_text_of_a_transform_names_what_is_not_default() -> None:
    assert repr(Levels()) == "Levels()"
    assert repr(Levels(size=7, share=0.5)) == "Levels(size=7)"


def test_a_transform_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(Levels(size=7))).config == LevelsConfig(size=7)


@pytest.mark.parametrize(("start", "stop", "length", "last"), [(0, 5, 5, True), (0, 5, 6, False), (0, 5, None, False)])
def test_a_span_knows_whether_it_is_the_last(start: int, stop: int, length: int | None, last: bool) -> None:
    assert Span(start, start, stop, length).is_last is last


def test_a_whole_recording_is_one_span() -> None:
    assert Span.whole(7) == Span(0, 0, 7, 7)
    assert Span.whole(7).is_last


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.float32(1), r"must be \[samples\] or \[channels, samples\]; got shape \(\)"),
        (np.ones((2, 3, 4)), r"got shape \(2, 3, 4\)"),
        (np.ones(0), "audio is empty"),
        (np.ones((2, 0)), "audio is empty"),
        (np.ones((0, 2)), "audio is empty"),
        (np.ones(3) * 1j, "must be real numbers; got complex128"),
        (np.ones(3, bool), "must be real numbers; got bool"),
        (np.array(["a"]), "must be real numbers"),
        (np.ones(3, np.int16), "audio is of integers; got int16.*Divide 16-bit samples by 32768"),
        (np.array([1.0, np.nan]), "holds NaN or infinite"),
        (np.array([1.0, -np.inf]), "holds NaN or infinite"),
    ],
)
def test_audio_that_cannot_be_analysed_is_refused(audio: Any, message: str) -> None:
    with pytest.raises(TransformError, match=f"^somewhere: .*{message}"):
        as_channels(audio, "somewhere")


@pytest.mark.parametrize(
    ("given", "kept"), [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)]
)
def test_audio_keeps_its_precision(given: type, kept: type) -> None:
    audio = np.array([[0.5, -0.25], [1.0, 2.0]], given)
    many, mono = as_channels(audio, "somewhere")
    assert many.dtype == kept
    assert np.array_equal(many, audio)
    assert not mono
    one, mono = as_channels(audio[0], "somewhere")
    assert one.shape == (1, 2)
    assert mono


def test_a_list_of_numbers_is_audio() -> None:
    samples, mono = as_channels([0.5, 1.0], "somewhere")
    assert samples.tolist() == [[0.5, 1.0]]
    assert mono
