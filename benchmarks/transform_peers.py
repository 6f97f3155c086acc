"""The same transforms by librosa and PyWavelets: opponents of ours in benchmarks/transforms.py.

Each is given what its library does fastest: no points, no calibration, no true times are made of its coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.transform import get_transform

Audio = NDArray[np.float32]

_CQT_LOWEST, _CQT_PER_OCTAVE = 32.703, 24
# librosa's highest filter has to end below Nyquist.
_CQT_HIGHEST = 0.9
_STFT_SIZE = 2000


@dataclass(frozen=True)
class Peer:
    """One opponent at one sample rate.

    Attributes
    ----------
    name
        What it calls.
    package
        The distribution that it comes from.
    ours
        The transform of ours that has the same bins.
    analyze, synthesize
        From audio to coefficients in any form, and from these to audio of at least its length.
    """

    name: str
    package: str
    ours: str
    analyze: Callable[[Audio], Any]
    synthesize: Callable[[Any], Audio]


def peers(sample_rate: int, samples: int) -> list[Peer]:
    """Return the opponents for recordings of so many samples."""
    return [
        librosa_cqt(sample_rate, samples),
        librosa_stft(samples),
        pywavelets_packet(sample_rate),
        pywavelets_dwt(sample_rate),
        pywavelets_swt(sample_rate),
    ]


def librosa_cqt(sample_rate: int, samples: int) -> Peer:
    """Return librosa's constant-Q transform and its approximate inverse, at the default hop of 512."""
    import librosa

    # Whole octaves: with a part of a tenth one its inverse grows a thousandfold.
    octaves = math.floor(math.log2(_CQT_HIGHEST * sample_rate / 2 / _CQT_LOWEST))
    bins = _CQT_PER_OCTAVE * octaves
    options: dict[str, Any] = {
        "sr": sample_rate,
        "fmin": _CQT_LOWEST,
        "bins_per_octave": _CQT_PER_OCTAVE,
        "tuning": 0.0,
    }
    # Half-way to where the next band would be.
    highest = _CQT_LOWEST * 2 ** (octaves - 0.5 / _CQT_PER_OCTAVE)
    return Peer(
        "`librosa.cqt`, `icqt`",
        "librosa",
        f"cqt:fmin={_CQT_LOWEST},fmax={highest:.3f},bins_per_octave={_CQT_PER_OCTAVE}",
        lambda audio: librosa.cqt(audio, n_bins=bins, **options),
        lambda coefficients: librosa.icqt(coefficients, length=samples, **options),
    )


def librosa_stft(samples: int) -> Peer:
    """Return librosa's STFT with the window and hop of our default."""
    import librosa

    window = np.sin(np.pi * np.arange(_STFT_SIZE) / _STFT_SIZE)
    options: dict[str, Any] = {"n_fft": _STFT_SIZE, "hop_length": _STFT_SIZE // 2, "window": window}
    return Peer(
        "`librosa.stft`, `istft`",
        "librosa",
        f"stft:n_fft={_STFT_SIZE}",
        lambda audio: librosa.stft(audio, **options),
        lambda coefficients: librosa.istft(coefficients, length=samples, **options),
    )


def pywavelets_packet(sample_rate: int) -> Peer:
    """Return PyWavelets' tree of packets, all nodes of the last level in the order of frequency."""
    import pywt

    ours = "wavelet:kind=packet"
    wavelet, level = _wavelet_of(ours, sample_rate)

    def analyze(audio: Audio) -> Any:
        tree = pywt.WaveletPacket(audio, wavelet, mode="zero", maxlevel=level)
        tree.get_level(level, order="freq", decompose=True)
        return tree

    return Peer(
        "`pywt.WaveletPacket`",
        "PyWavelets",
        ours,
        analyze,
        lambda tree: tree.reconstruct(update=False),
    )


def pywavelets_dwt(sample_rate: int) -> Peer:
    """Return PyWavelets' discrete transform."""
    import pywt

    ours = "wavelet:kind=dwt"
    wavelet, level = _wavelet_of(ours, sample_rate)
    return Peer(
        "`pywt.wavedec`, `waverec`",
        "PyWavelets",
        ours,
        lambda audio: pywt.wavedec(audio, wavelet, mode="zero", level=level),
        lambda coefficients: pywt.waverec(coefficients, wavelet, mode="zero"),
    )


def pywavelets_swt(sample_rate: int) -> Peer:
    """Return PyWavelets' stationary transform, which takes audio for periodic and wants a round length."""
    import pywt

    ours = "wavelet:kind=swt"
    wavelet, level = _wavelet_of(ours, sample_rate)

    def analyze(audio: Audio) -> Any:
        padded = np.pad(audio, (0, -len(audio) % 2**level))
        return pywt.swt(padded, wavelet, level=level, trim_approx=True, norm=True)

    return Peer(
        "`pywt.swt`, `iswt`",
        "PyWavelets",
        ours,
        analyze,
        lambda coefficients: pywt.iswt(coefficients, wavelet, norm=True),
    )


def _wavelet_of(spec: str, sample_rate: int) -> tuple[str, int]:
    """Return the wavelet and the level that a transform of ours takes by default."""
    config: Any = get_transform(spec).config
    return config.wavelet_name, config.levels(sample_rate)
