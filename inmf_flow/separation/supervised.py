"""Supervised separation of audio in memory or in blocks."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import INMF
from inmf_flow.points import GridBlock, PointSet
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.separation.masks import Mask, parse_mask, source_gains
from inmf_flow.transform import (
    SlidingAudio,
    Span,
    Transform,
    as_channels,
    checked_analysis,
    checked_halo,
    checked_latency,
    checked_synthesis,
    get_transforms,
    synthesis_context,
)

logger = logging.getLogger("inmf_flow.separation")

# Long enough that the context analysed twice is a small share, short enough for little memory.
BLOCK_SECONDS = 30.0


@dataclass(frozen=True)
class MemberTransforms:
    """The transforms of each member of an ensemble, in the members' order.

    Attributes
    ----------
    choices
        For each member one transform, or several whose estimates are averaged.
    """

    choices: tuple[Transform | str | Sequence[Transform | str], ...]


#: One transform, or several whose estimates are averaged; text is a spec such as ``"stft:n_fft=1024"``.
TransformChoice = Transform | str | Sequence[Transform | str] | MemberTransforms
#: From the points of each of several transforms to the gains of each source on them.
JointGains = Callable[[Sequence[PointSet]], list[list[list[NDArray[np.float32]]]]]


def separate(
    audio: ArrayLike,
    sample_rate: int,
    models: Mapping[str, INMF],
    transform: TransformChoice = "stft",
    *,
    mask: str | Mapping[str, Any] | Mask | None = None,
    max_iter: int = 100,
    refine: float | None = None,
    channels: str = "each",
    outputs: Literal["sources", "components"] = "sources",
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
        An invertible transform, or its spec such as ``"stft:n_fft=1024"``; it may differ from that of the training. Of
        several, each separates by activations that are fitted to the points of all, and their estimates are averaged.
        The members of ensembles may have one each: `MemberTransforms`.
    mask
        ``"default"``, ``"paper"`` or ``{"wiener": exponent}``; see `Mask`.
    max_iter
        Updates of the activations.
    refine
        Exponent e of a second mask, |s_i|^e / sum |s_r|^e, made of the estimates' own magnitudes, or None for none. It
        sharpens what neighbouring frames and transforms agree on. Only grids can be masked again, and not after the
        paper's mask.
    channels
        ``"each"``: every channel has activations of its own. ``"shared"``: they share them, each source with a gain in
        each channel, which is learned from the whole mixture: better where sources sit at places of their own.
    outputs
        ``"sources"``, or ``"components"`` for an estimate of each component, named SOURCE-1 and so on.

    Returns
    -------
    estimates
        From the source's (or component's) name to audio of the mixture's shape. With any but the paper's mask they add
        up to the mixture within rounding.

    Raises
    ------
    ArgumentError
        When models do not go together, or a transform has no inverse.
    """
    samples, mono = as_channels(audio, "separate")
    dictionary = Dictionary(models, outputs)
    if shares_channels(channels) and len(samples) > 1:
        dictionary = dictionary.with_channels(checked_analysis(as_transforms(transform)[0], samples, sample_rate))
    pieces = list(
        separate_blocks([samples], sample_rate, dictionary, transform, parse_mask(mask), max_iter, refine=refine)
    )
    joined = {name: np.concatenate([piece[name] for piece in pieces], axis=-1) for name in dictionary.names}
    return {name: estimate[0] if mono else estimate for name, estimate in joined.items()}


def separate_blocks(
    blocks: Iterable[NDArray[Any]],
    sample_rate: int,
    dictionary: Dictionary,
    transform: TransformChoice,
    mask: Mask,
    max_iter: int = 100,
    block_seconds: float = BLOCK_SECONDS,
    refine: float | None = None,
) -> Iterator[dict[str, NDArray[Any]]]:
    """Separate a recording block by block, in memory that does not grow with its length.

    Parameters
    ----------
    blocks
        Consecutive blocks [channels, samples] of any sizes.
    sample_rate, dictionary, transform, mask, max_iter, refine
        As in `separate`.
    block_seconds
        Seconds of output that are made at a time. Each is analysed with the context that its samples depend on, so
        the cuts leave no trace.

    Yields
    ------
    estimates
        From the source's name to the next stretch of audio, [channels, samples].
    """
    work = BlockSeparation(sample_rate, dictionary, transform, mask, max_iter, refine)
    yield from work.stretches(SlidingAudio(blocks), itertools.count(0, work.step(block_seconds)))


class BlockSeparation:
    """Separation of one stretch of a recording after the other, each given with the audio around it.

    Parameters
    ----------
    sample_rate, dictionary, transform, mask, max_iter, refine
        As in `separate`.
    lookahead
        Samples after a stretch that are heard besides those that its transforms need, for components that move; by
        default as many as the models' context has. With fewer, what comes after them counts as silence.

    Attributes
    ----------
    members
        The transforms of each of the dictionary's members.
    joint_gains
        For each member a function from its transforms' points to gains, as `Dictionary.joint_gains` gives them.
    reach
        How many samples before and after a stretch its estimates depend on.
    """

    def __init__(
        self,
        sample_rate: int,
        dictionary: Dictionary,
        transform: TransformChoice,
        mask: Mask,
        max_iter: int,
        refine: float | None = None,
        lookahead: int | None = None,
    ) -> None:
        self.sample_rate, self.dictionary = sample_rate, dictionary
        self.joint_gains: list[JointGains] = [
            partial(member.joint_gains, mask=mask, max_iter=max_iter) for member in dictionary.members
        ]
        self.members = member_transforms(transform, dictionary)
        self.refine = None if mask.paper else refine
        self._transforms = list({id(one): one for chosen in self.members for one in chosen}.values())
        self._depths = {
            id(each): (checked_halo(each, sample_rate)[1], checked_latency(each, sample_rate))
            for each in self._transforms
        }
        contexts = [synthesis_context(each, sample_rate) for each in self._transforms]
        before, after = (max(sides) for sides in zip(*contexts, strict=True))
        # What the points of a stretch of output depend on besides its own analysis: the components' context, and, where
        # it is masked again, the estimates around it.
        context = math.ceil(dictionary.context * sample_rate)
        again = (0, 0) if self.refine is None else (before, after)
        self._early = context + again[0]
        self._late = again[1] + (context if lookahead is None else lookahead)
        self.reach = self._early + before, self._late + after
        self._warned = False

    def estimates(
        self, window: NDArray[Any], offset: int, start: int, stop: int, length: int | None
    ) -> list[NDArray[Any]]:
        """Return audio [channels, stop - start] of each source.

        Parameters
        ----------
        window
            The mixture, [channels, samples], as far as there is any from ``reach`` before ``start`` to ``reach`` after
            ``stop``.
        offset
            Number of the window's first sample in the recording.
        start, stop
            The stretch, in samples from the recording's start.
        length
            Samples in the recording, None where its end is not known yet.
        """
        analysed = {id(each): self._analysed(each, window, offset, start, stop, length) for each in self._transforms}
        if not self._warned:
            self._warned = True
            parts = [points for points, _ in analysed.values()]
            known = min(member.known_band(parts, self.sample_rate) for member in self.dictionary.members)
            _warn_of_unseen_band(known, self.sample_rate / 2)
        estimates: list[NDArray[Any]] = []
        for joint_gains, chosen in zip(self.joint_gains, self.members, strict=True):
            parts = [analysed[id(each)][0] for each in chosen]
            gains = joint_gains(parts)
            own = [mean_of_estimates(chosen, parts, gain, window.shape[-1]) for gain in gains]
            estimates = own if not estimates else [total + one for total, one in zip(estimates, own, strict=True)]
        if len(self.members) > 1:
            estimates = [(total / len(self.members)).astype(total.dtype) for total in estimates]
        if self.refine is not None:
            found = [analysed[id(each)] for each in self.members[0]]
            parts, spans = [points for points, _ in found], [span for _, span in found]
            estimates = refined(estimates, self.members[0], parts, spans, self.sample_rate, self.refine)
        return [estimate[..., start - offset : stop - offset] for estimate in estimates]

    def step(self, seconds: float) -> int:
        """Return how many samples of output to make at a time: so many seconds, but no fewer than they depend on."""
        least: int = sum(self.reach)
        return max(int(seconds * self.sample_rate), least)

    def stretches(self, audio: SlidingAudio, edges: Iterable[int]) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield audio [channels, samples] of each source between every two edges, as far as the recording goes.

        Parameters
        ----------
        audio
            The recording, from ``reach`` before the first edge or earlier.
        edges
            Ascending, in samples from the recording's start.
        """
        for start, end in itertools.pairwise(edges):
            if audio.length is not None and start >= audio.length:
                break
            window, offset = audio.window(start - self.reach[0], end + self.reach[1])
            stop = end if audio.length is None else min(end, audio.length)
            if start >= stop:
                break
            estimates = self.estimates(window, offset, start, stop, audio.length)
            yield dict(zip(self.dictionary.names, estimates, strict=True))

    def _analysed(
        self, transform: Transform, window: NDArray[Any], offset: int, start: int, stop: int, length: int | None
    ) -> tuple[PointSet, Span]:
        right, latency = self._depths[id(transform)]
        end = stop + self._late + latency - right
        span = Span(offset, max(start - self._early - right, 0), end if length is None else min(end, length), length)
        return checked_analysis(transform, window, self.sample_rate, span), span


def refined(
    estimates: list[NDArray[Any]],
    transforms: Sequence[Transform],
    parts: Sequence[PointSet],
    spans: Sequence[Span],
    sample_rate: int,
    exponent: float,
) -> list[NDArray[Any]]:
    """Return estimates that share the mixture's coefficients anew, by their own magnitudes; they add up as before.

    Parameters
    ----------
    estimates
        Audio of each source, of the shape of the window that was analysed.
    transforms, parts, spans
        What the mixture was analysed by, its points, and which stretch of it they are of.
    exponent
        Of the magnitudes.
    """
    found = []
    for transform, part, span in zip(transforms, parts, spans, strict=True):
        if not all(isinstance(block, GridBlock) for block in part.blocks):
            # Scattered points lie elsewhere for every sound: there is nothing to compare.
            return estimates
        heard = [checked_analysis(transform, estimate, sample_rate, span) for estimate in estimates]
        blocks = zip(*(points.blocks for points in heard), strict=True)
        gains = [source_gains([one.magnitudes for one in block], 1.0, Mask(wiener=exponent)) for block in blocks]
        found.append([list(gain) for gain in zip(*gains, strict=True)])
    samples = estimates[0].shape[-1]
    return [mean_of_estimates(transforms, parts, gains, samples) for gains in zip(*found, strict=True)]


def _warn_of_unseen_band(known: float, nyquist: float) -> None:
    if known < nyquist:
        message = "the models have seen no data from %.0f to %.0f Hz: the sources share that band equally"
        logger.warning(message, known, nyquist)


def shares_channels(channels: str) -> bool:
    """Return whether channels share activations; raise `ArgumentError` for a word that says neither."""
    if channels not in ("each", "shared"):
        raise ArgumentError("no such way with channels", got=repr(channels), expected="'each' or 'shared'")
    return channels == "shared"


def member_transforms(given: TransformChoice, dictionary: Dictionary) -> list[list[Transform]]:
    """Return the transforms of each of a dictionary's members; equal ones are one and the same object."""
    if not isinstance(given, MemberTransforms):
        return [as_transforms(given)] * len(dictionary.members)
    if len(given.choices) != len(dictionary.members):
        raise ArgumentError(
            "transforms and members of the ensemble do not pair up",
            got=f"{len(given.choices)} and {len(dictionary.members)}",
            expected="one choice of transforms a member",
        )
    known: dict[str, Transform] = {}
    return [[known.setdefault(repr(each), each) for each in as_transforms(choice)] for choice in given.choices]


def as_transforms(given: TransformChoice) -> list[Transform]:
    """Return the transforms that are meant, each invertible."""
    if isinstance(given, MemberTransforms):
        return list({id(each): each for choice in given.choices for each in as_transforms(choice)}.values())
    transforms = get_transforms([given] if isinstance(given, Transform | str) else given, "separate")
    for transform in transforms:
        if transform.invertible == "none":
            raise ArgumentError(
                "separation needs a transform that can be inverted",
                where=repr(transform),
                got="invertible: none",
                expected="such as stft with a hop of half its window or less",
            )
    return transforms


def mean_of_estimates(
    transforms: Sequence[Transform], parts: Sequence[PointSet], gains: Sequence[list[NDArray[np.float32]]], samples: int
) -> NDArray[Any]:
    """Return one source's audio, the mean of what each transform makes of its points and gains."""
    estimates = [
        checked_synthesis(transform, points, gain, samples)
        for transform, points, gain in zip(transforms, parts, gains, strict=True)
    ]
    # In the precision of the audio: a mean of one is the one.
    return estimates[0] if len(estimates) == 1 else np.mean(estimates, axis=0, dtype=estimates[0].dtype)
