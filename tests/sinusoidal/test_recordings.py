"""Speech and music: what comes back, how much of it the partials explain, and what blocks of a file give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inmf_flow.audio import AudioReader, read_audio
from inmf_flow.points import PointSet
from inmf_flow.testing import snr_db
from inmf_flow.transform import Span, analyze_in_blocks
from inmf_flow_sinusoidal import partials
from inmf_flow_sinusoidal.reassigned import Reassigned
from inmf_flow_sinusoidal.transform import Sinusoidal

RATES = [8_000, 16_000, 44_100, 48_000]


@pytest.fixture(name="recording", scope="module", params=["speech", "music"])
def recording_fixture(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)["mixture"]
    return path


@pytest.mark.parametrize("rate", RATES)
def test_recordings_come_back(recording: Path, rate: int) -> None:
    audio, _ = read_audio(recording, rate)
    audio = audio[:, : 3 * rate + 1]
    transform = Sinusoidal()
    assert snr_db(audio, transform.synthesize(transform.analyze(audio, rate))) >= 100


def test_partials_explain_a_part_of_a_recording(recording: Path) -> None:
    audio, rate = read_audio(recording)
    transform = Sinusoidal()
    points = transform.analyze(audio, rate)
    assert len(partials(points)) > 10
    assert snr_db(audio, transform.synthesize(points, [np.ones(()), np.zeros(())])) > 1.5


def test_gains_that_add_up_to_one_share_a_recording(recording: Path) -> None:
    audio, rate = read_audio(recording)
    transform = Sinusoidal()
    points = transform.analyze(audio, rate)
    random = np.random.default_rng(0)
    gains = [random.uniform(-1, 2, block.magnitudes.shape) for block in points.blocks]
    parts = transform.synthesize(points, gains) + transform.synthesize(points, [1 - gain for gain in gains])
    assert snr_db(audio, parts) >= 100


@pytest.mark.parametrize("transform", [Sinusoidal(), Reassigned()], ids=["sinusoidal", "reassigned"])
def test_a_file_read_in_blocks_gives_the_points_of_the_whole(
    recording: Path, transform: Sinusoidal | Reassigned
) -> None:
    audio, rate = read_audio(recording)
    whole = transform.analyze(audio, rate)
    with AudioReader(recording) as reader:
        joined = PointSet.consecutive(analyze_in_blocks(transform, reader.blocks(5_003), rate, 20_011))
    scattered = [next(block for block in points.blocks if block.weights.ndim == 1) for points in (joined, whole)]
    orders = [np.lexsort((block.frequencies, block.times)) for block in scattered]
    for name in ("times", "frequencies", "magnitudes", "weights"):
        one, other = (getattr(block, name)[..., order] for block, order in zip(scattered, orders, strict=True))
        assert np.allclose(one, other, rtol=1e-6, atol=1e-9), name


def test_a_span_is_synthesized_as_the_whole_is(recording: Path) -> None:
    audio, rate = read_audio(recording)
    transform = Sinusoidal()
    left, right = transform.halo(rate)
    start, stop = rate, 2 * rate
    low, high = max(start - left - right, 0), min(stop + left + right, audio.shape[-1])
    span = Span(low, max(start - right, 0), min(stop + left, audio.shape[-1]), audio.shape[-1])

    def lowered(points: PointSet) -> np.ndarray:
        gains = [1 / (1 + block.frequencies / 1000) for block in points.blocks]
        return transform.synthesize(points, [gains[0], gains[1][:, None]])

    part = lowered(transform.analyze(audio[:, low:high], rate, span=span))
    whole = lowered(transform.analyze(audio, rate))
    assert np.abs(part[:, start - low : stop - low] - whole[:, start:stop]).max() < 1e-6
