"""Windows that are sums of cosines, with what reassignment needs of them, and spectra of many frames."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
WindowName = Literal["hann", "blackman", "blackman_harris"]

# Coefficients of cos(2 pi m u), u from -1/2 to 1/2: F. J. Harris, "On the use of windows for harmonic analysis with
# the discrete Fourier transform", Proc. IEEE 66(1), 1978.
_COSINES: dict[str, tuple[float, ...]] = {
    "hann": (0.5, 0.5),
    "blackman": (0.42, 0.5, 0.08),
    "blackman_harris": (0.35875, 0.48829, 0.14128, 0.01168),
}


def window_values(name: WindowName, places: Float64) -> tuple[Float64, Float64]:
    """Return a window and its derivative at places of [-1/2, 1/2]; the window is 1 in the middle.

    The derivative is by the place, not by the sample: divide it by the window's length.
    """
    window, slope = np.zeros_like(places), np.zeros_like(places)
    for m, a in enumerate(_COSINES[name]):
        window += a * np.cos(2 * np.pi * m * places)
        slope -= a * 2 * np.pi * m * np.sin(2 * np.pi * m * places)
    return window, slope


def reassignment_windows(name: WindowName, length: int) -> Float64:
    """Return a window, the window times the sample's distance from its centre, and its derivative by the sample.

    The centre is sample ``length // 2``, so that a frame's centre is a sample whatever the length.

    Returns
    -------
    windows
        Shape [3, length].
    """
    offsets = np.arange(length) - length // 2
    window, slope = window_values(name, offsets / length)
    return np.stack([window, offsets * window, slope / length])


def spectra(samples: NDArray[Any], windows: Float64, n_fft: int, hop: int, count: int) -> NDArray[np.complex128]:
    """Return the Fourier transforms of frames under several windows.

    They are taken in double precision, whatever the samples: which bin is a peak must not hang on rounding, or blocks
    of a recording would have other points than the whole.

    Parameters
    ----------
    samples
        Shape [channels, >= (count - 1) * hop + length].
    windows
        Shape [windows, length].
    n_fft
        Samples in a transform, at least the length of the windows.
    hop, count
        Samples between frames, and how many there are.

    Returns
    -------
    spectra
        Shape [windows, channels, count, n_fft // 2 + 1]; phases are relative to each frame's first sample.
    """
    from scipy import fft

    frames = np.lib.stride_tricks.sliding_window_view(samples, windows.shape[-1], axis=-1)[:, ::hop][:, :count]
    found: NDArray[np.complex128] = fft.rfft(frames * windows[:, None, None, :], n_fft, axis=-1)
    return found
