"""Supervised separation of audio in memory or in blocks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import INMF
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.separation.masks import Mask, parse_mask
from inmf_flow.transform import SlidingAudio, Span, Transform, as_channels, get_transform, synthesis_context

logger = logging.getLogger("inmf_flow.separation")

# Long enough that the context analysed twice is a small share, short enough for little memory.
BLOCK_SECONDS = 30.0


def separate(
    audio: ArrayLike,
    sample_rate: int,
    models: Mapping[str, INMF],
    transform: Transform | str = "stft",
    *,
    mask: str | Mapping[str, Any] | Mask | None = None,
    max_iter: int = 100,
) -> dict[str, NDArray[Any]]:
    """Separate a mixture into the sources whose dictionaries are given.

    The activations of all sources are fitted together to the mixture's points, templates frozen, and the mixture's
    coefficients are shared out by a mask (arXiv 2404.04439, section IV; the default mask is ours and adds up).

    Parameters
    ----------
    audio
        The mixture, [samples] or [channels, samples], floating point.
    sample_rate
        Hertz; it may differ from that of the models' training audio.
    models
        From the source's name to its fitted model.
    transform
        An invertible transform, or its spec such as ``"stft:n_fft=1024"``; it may differ from that of the training.
    mask
        ``"default"``, ``"paper"`` or ``{"wiener": exponent}``; see `Mask`.
    max_iter
        Updates of the activations.

    Returns
    -------
    estimates
        From the source's name to audio of the mixture's shape. With any but the paper's mask they add up to the
        mixture within rounding.

    Raises
    ------
    ArgumentError
        When models do not go together, or the transform has no inverse.
    """
    samples, mono = as_channels(audio, "separate")
    chosen = get_transform(transform) if isinstance(transform, str) else transform
    pieces = list(separate_blocks([samples], sample_rate, Dictionary(models), chosen, parse_mask(mask), max_iter))
    joined = {name: np.concatenate([piece[name] for piece in pieces], axis=-1) for name in models}
    return {name: estimate[0] if mono else estimate for name, estimate in joined.items()}


def separate_blocks(
    blocks: Iterable[NDArray[Any]],
    sample_rate: int,
    dictionary: Dictionary,
    transform: Transform,
    mask: Mask,
    max_iter: int = 100,
    block_seconds: float = BLOCK_SECONDS,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Separate a recording block by block, in memory that does not grow with its length.

    Parameters
    ----------
    blocks
        Consecutive blocks [channels, samples] of any sizes.
    sample_rate, dictionary, transform, mask, max_iter
        As in `separate`.
    block_seconds
        Seconds of output that are made at a time. Each is analysed with the context that its samples depend on, so
        the cuts leave no trace.

    Yields
    ------
    estimates
        From the source's name to the next stretch of audio, [channels, samples].
    """
    if transform.invertible == "none":
        raise ArgumentError(
            "separation needs a transform that can be inverted",
            where=repr(transform),
            got="invertible: none",
            expected="such as stft with a hop of half its window or less",
        )
    band = dictionary.unseen_band(sample_rate)
    if band:
        logger.warning("the models have seen no data from %.0f to %.0f Hz: the sources share that band equally", *band)
    audio = SlidingAudio(blocks)
    before, after = synthesis_context(transform, sample_rate)
    left, right = transform.halo(sample_rate)
    step = max(int(block_seconds * sample_rate), before + after)
    start = 0
    while audio.length is None or start < audio.length:
        window, offset = audio.window(start - before, start + step + after)
        stop = start + step if audio.length is None else min(start + step, audio.length)
        if start >= stop:
            break
        wanted = (
            max(start - right, 0),
            stop + left if audio.length is None else min(stop + left, audio.length),
        )
        points = transform.analyze(window, sample_rate, span=Span(offset, *wanted, audio.length))
        gains = dictionary.gains(points, mask, max_iter)
        cut = slice(start - offset, stop - offset)
        yield {
            name: np.asarray(transform.synthesize(points, gain))[..., cut]
            for name, gain in zip(dictionary.names, gains, strict=True)
        }
        start = stop
