"""Separation of a stream: blocks go in as they come, sources come out at a constant delay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inmf_flow.audio.arrays import as_count
from inmf_flow.errors import ArgumentError
from inmf_flow.factorize import INMF
from inmf_flow.points import GridBlock
from inmf_flow.separation.dictionary import Dictionary
from inmf_flow.separation.frame_gains import FrameGains, FrameRules
from inmf_flow.separation.masks import Mask, parse_mask
from inmf_flow.separation.stream_steps import BetweenRates, Steps, Work, delay_between_rates
from inmf_flow.separation.supervised import BlockSeparation, TransformChoice, as_transforms
from inmf_flow.transform import as_channels, checked_analysis, checked_synthesis, synthesis_context

Audio = NDArray[Any]

# Updates of a frame, the best of those tried on the development examples (docs/live.md), and seconds after which what a
# dictionary that follows the stream heard counts half.
MAX_ITER = 20
HALF_LIFE = 10.0
# Hertz of usual sample rates: a stream is analysed at the lowest that has all that the models know.
_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)


class StreamSeparator:
    """Separates a stream into the sources whose dictionaries are given, block by block.

    What comes out of `push` is as long as what went in: the sources of the stream as it was ``delay`` samples before,
    and silence until then. After `flush`, the estimates without their first ``delay`` samples add up to the stream.
    Work is done in steps of ``block`` samples wherever the blocks that are pushed begin and end, so results do not
    depend on their sizes.

    Points of a transform with one grid (an STFT, wavelet packets, a CQT with ``matrix``) are fitted once, when they
    come; with ``warm_start=False`` and equal ``max_iter`` the estimates equal those of `separate`. Of other transforms,
    of several, of ensembles with such and of models with a context each step fits all points that its output depends
    on, as `separate` does: choose longer blocks for these.

    Parameters
    ----------
    models
        From the source's name to its fitted model, or to a number of components that are learned from the stream:
        what the known sources do not explain.
    transform
        As in `separate`. Its `Transform.latency` is most of the delay.
    sample_rate
        Hertz of the stream.
    block
        Samples that are worked on at a time; by default about a quarter of the transform's latency.
    lookahead
        Samples beyond those that the transform needs, which models with a context may hear before a block is
        separated. By default as many as their context has; with 0 the delay is the least, and what comes is silence to
        them.
    mask
        As in `separate`.
    max_iter
        Updates of each frame's activations, at most.
    tol
        Make fewer where activations change by less than this share in an update. One grid only.
    budget
        Share of a block's duration after which its updates end, so that a slow machine falls behind in quality and not
        in time; results then depend on the machine. One grid only.
    warm_start
        Start each block's frames from the activations of the frame before: better where updates are few. One grid only.
    adapt
        Names of sources whose templates follow the stream, or a mapping from the name to the half-life of what they
        heard in seconds (10 by default). Sources that are learned from the stream always do. One grid only.
    analysis_rate
        Hertz at which to analyse; the stream is resampled where it has another rate, and what is lost of it is shared
        equally. By default the stream's own rate, or the lowest usual one that has all that the models have seen.
    random_state
        Seed of the first templates of sources that are learned from the stream.

    Attributes
    ----------
    names
        Of the sources.
    delay
        Samples by which estimates are late.
    block
        Samples of the stream in a step.

    Raises
    ------
    ArgumentError
        When models do not go together, a transform has no inverse, an option is out of range, or what is pushed is not
        audio or has another number of channels than before.

    Examples
    --------
    >>> live = StreamSeparator(models, "stft:n_fft=1024,hop_length=256", 16000, block=512)  # doctest: +SKIP
    >>> for block in blocks:  # doctest: +SKIP
    ...     play(live.push(block)["voice"])
    >>> rest = live.flush()  # doctest: +SKIP
    """

    def __init__(
        self,
        models: Mapping[str, INMF | int],
        transform: TransformChoice = "stft",
        sample_rate: int = 16000,
        block: int | None = None,
        lookahead: int | None = None,
        *,
        mask: str | Mapping[str, Any] | Mask | None = None,
        max_iter: int = MAX_ITER,
        tol: float = 0.0,
        budget: float | None = None,
        warm_start: bool = False,
        adapt: Mapping[str, float] | Sequence[str] = (),
        analysis_rate: int | None = None,
        random_state: int = 0,
    ) -> None:
        known = {name: model for name, model in models.items() if not isinstance(model, int)}
        unknown = {
            name: as_count(n, f"components of {name}", "templates") for name, n in models.items() if isinstance(n, int)
        }
        dictionary = Dictionary(known)
        self.names = list(models)
        self.sample_rate = as_count(sample_rate, "sample_rate", "hertz")
        if analysis_rate is None:
            self.analysis_rate = _analysis_rate(self.sample_rate, dictionary.max_frequency)
        else:
            self.analysis_rate = as_count(analysis_rate, "analysis_rate", "hertz")
        ratio = self.analysis_rate / self.sample_rate
        ahead = None if lookahead is None else round(as_count(lookahead, "lookahead", "samples", 0) * ratio)
        chosen = parse_mask(mask)
        self._work = BlockSeparation(
            self.analysis_rate,
            dictionary,
            transform,
            chosen,
            as_count(max_iter, "max_iter", "updates"),
            lookahead=ahead,
        )
        if block is None:
            latency = max(synthesis_context(each, self.analysis_rate)[1] for each in as_transforms(transform))
            block = max(round(latency / 4 / ratio), 1)
        self.block = as_count(block, "block", "samples")
        half_lives = _half_lives(adapt, self.names)
        rules = FrameRules(
            max_iter,
            _share("tol", tol),
            None if budget is None else _share("budget", budget) * self.block / self.sample_rate,
            warm_start,
            dict.fromkeys(unknown, HALF_LIFE) | half_lives,
            unknown,
            random_state,
        )
        self._frames = _remember_frames(self._work, self.names, chosen, rules)
        self._share_rest = not chosen.paper
        self._step = max(round(self.block * ratio), 1)
        if ratio == 1:
            self.delay = self._work.reach[1] + self._step - 1
        else:
            rates = self.sample_rate, self.analysis_rate
            self.delay = delay_between_rates(*rates, self.block, self._work.reach[1], self._step)
        _warm_up(self._work)
        # Made when the first block says how many channels there are.
        self._stream: Work | None = None
        self._shape: tuple[int, bool, Any] = (0, True, np.float32)
        self._given, self._ended = 0, False
        # Estimates that are not due yet, [sources, channels, samples].
        self._ready: Audio = np.zeros((len(self.names), 0, 0), np.float32)

    def push(self, block: ArrayLike) -> dict[str, Audio]:
        """Take the next block of the stream and return each source's of ``delay`` samples before.

        Parameters
        ----------
        block
            [samples] or [channels, samples], any number of samples; floating point.

        Returns
        -------
        estimates
            From the source's name to audio of the block's shape.
        """
        if self._ended:
            raise ArgumentError("the stream has ended", hint="Make another StreamSeparator for another stream.")
        array = np.asarray(block)
        if array.ndim in (1, 2) and array.shape[-1] == 0:
            return {name: np.zeros(array.shape, np.float32) for name in self.names}
        samples, mono = as_channels(array, "StreamSeparator.push")
        if self._stream is None:
            self._begin(samples, mono)
        assert self._stream is not None
        channels, was_mono, dtype = self._shape
        if (channels, was_mono) != (len(samples), mono):
            raise ArgumentError(
                "the stream's channels have changed",
                where="StreamSeparator.push",
                got=f"shape {array.shape}",
                expected="[samples]" if was_mono else f"[{channels}, samples]",
            )
        self._add(self._stream.push(samples.astype(dtype, copy=False)))
        return self._next(samples.shape[-1])

    def flush(self) -> dict[str, Audio]:
        """End the stream and return what is left of each source: its last ``delay`` samples."""
        if self._ended:
            raise ArgumentError("the stream has ended")
        self._ended = True
        if self._stream is None:
            return {name: np.zeros(0, np.float32) for name in self.names}
        self._add(self._stream.finish())
        return self._next(self.delay)

    def templates(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return hertz [F] and a source's templates at them as they are now, [F, K].

        What sources that follow the stream have learned; `INMF.templates` has those of the others.
        """
        if self._frames is None or name not in self.names:
            raise ArgumentError("there are no templates of that source", got=repr(name), expected=", ".join(self.names))
        return self._frames.frequencies.copy(), self._frames.templates(name)

    def _begin(self, samples: Audio, mono: bool) -> None:
        channels, dtype = len(samples), samples.dtype
        self._shape = channels, mono, dtype
        self._ready = np.zeros((len(self.names), channels, 0), dtype)
        steps = Steps(self._work, len(self.names), self._step, channels, dtype)
        rates = self.sample_rate, self.analysis_rate
        self._stream = (
            steps
            if rates[0] == rates[1]
            else BetweenRates(steps, len(self.names), *rates, self.block, channels, dtype, self._share_rest)
        )

    def _add(self, estimates: Audio) -> None:
        if estimates.shape[-1]:
            self._ready = np.concatenate([self._ready, estimates], axis=-1)

    def _next(self, count: int) -> dict[str, Audio]:
        """Return the next so many samples of each source: silence first, until the delay is over."""
        silent = min(max(self.delay - self._given, 0), count)
        self._given += count
        due = self._ready[..., : count - silent]
        assert due.shape[-1] == count - silent, "estimates are later than the delay"
        self._ready = self._ready[..., count - silent :]
        whole = np.pad(due, ((0, 0), (0, 0), (silent, 0))) if silent else due
        return {name: one[0] if self._shape[1] else one for name, one in zip(self.names, whole, strict=True)}


def _remember_frames(work: BlockSeparation, names: Sequence[str], mask: Mask, rules: FrameRules) -> FrameGains | None:
    """Let members whose points are one grid fit each frame once; return the last such member's gains."""
    frames: FrameGains | None = None
    all_known = not rules.half_lives
    for number, (member, transforms) in enumerate(zip(work.dictionary.members, work.members, strict=True)):
        trial = [checked_analysis(each, np.zeros(1, np.float32), work.sample_rate) for each in transforms]
        blocks = [block for points in trial for block in points.blocks]
        if len(blocks) == 1 and isinstance(blocks[0], GridBlock) and not member.context:
            frames = FrameGains(member, names, blocks[0], mask, rules)
            work.joint_gains[number] = frames
        elif not all_known:
            raise ArgumentError(
                "sources follow a stream only by a transform with one grid and models without a context",
                got=f"{', '.join(rules.half_lives)} by {', '.join(map(repr, transforms))}",
                expected="such as stft, wavelet or cqt with matrix",
            )
    return frames


def _warm_up(work: BlockSeparation) -> None:
    """Do once what is slow the first time, so that no block of the stream has to."""
    for transform in {id(each): each for transforms in work.members for each in transforms}.values():
        samples = np.zeros((1, 1), np.float32)
        points = checked_analysis(transform, samples, work.sample_rate)
        gains = [np.ones(block.magnitudes.shape, np.float32) for block in points.blocks]
        checked_synthesis(transform, points, gains, 1)


def _analysis_rate(sample_rate: int, known: float) -> int:
    """Return hertz at which to analyse: less than the stream's where the models know only a part of its band."""
    # Points of the highest band may lie a little below the Nyquist frequency of what models were learned from.
    enough = [rate for rate in _RATES if rate >= 2 * known * 0.97]
    return min([*enough[:1], sample_rate])


def _half_lives(adapt: Mapping[str, float] | Sequence[str], names: Sequence[str]) -> dict[str, float]:
    chosen = dict(adapt) if isinstance(adapt, Mapping) else dict.fromkeys(adapt, HALF_LIFE)
    for name, seconds in chosen.items():
        if name not in names:
            raise ArgumentError("no such source is there to adapt", got=repr(name), expected=", ".join(names))
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
            raise ArgumentError("a half-life must be seconds above 0", where=f"adapt {name}", got=seconds)
    return chosen


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ArgumentError(f"{name} must be a share", got=value, expected="0 to 1")
    return float(value)
