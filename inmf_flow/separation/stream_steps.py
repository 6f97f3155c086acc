"""What happens to a stream: steps of equal length, at its own rate or at the analysis's."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import StreamResampler, fit_length
from inmf_flow.separation.supervised import BlockSeparation

Audio = NDArray[Any]

# Seconds of silence that tell how late a resampled stream can be, and samples of grace on top.
_TRIAL_SECONDS, _GRACE = 5.0, 16


class Work(Protocol):
    """Takes a stream [channels, n] in pieces of any length and gives estimates [sources, channels, m] when it can."""

    def push(self, samples: Audio) -> Audio:
        """Take samples, give estimates that are ready."""
        ...

    def finish(self) -> Audio:
        """Give the rest: in all as many samples as were pushed."""
        ...


class Steps:
    """Separates a stream in steps; each is taken as soon as all that its estimates depend on has come.

    Parameters
    ----------
    work
        Does a step.
    sources
        How many there are.
    step
        Samples in a step.
    channels, dtype
        Of the stream.
    """

    def __init__(self, work: BlockSeparation, sources: int, step: int, channels: int, dtype: Any) -> None:
        self._work, self._sources, self._step = work, sources, step
        self._held = np.zeros((channels, 0), dtype)
        # Number of the first sample that is held, and of the first whose estimates are still to come.
        self._offset = self._done = 0

    def push(self, samples: Audio) -> Audio:
        """Take samples [channels, n]; return the estimates of the steps that are complete now."""
        self._held = np.concatenate([self._held, samples], axis=-1)
        end = self._offset + self._held.shape[-1]
        pieces = [self._nothing]
        while self._done + self._step + self._work.reach[1] <= end:
            pieces.append(self._estimates(self._done + self._step, None))
        return np.concatenate(pieces, axis=-1) if len(pieces) > 1 else pieces[0]

    def finish(self) -> Audio:
        """Return the estimates of what is left."""
        length = self._offset + self._held.shape[-1]
        pieces = [self._nothing]
        while self._done < length:
            pieces.append(self._estimates(min(self._done + self._step, length), length))
        return np.concatenate(pieces, axis=-1)

    @property
    def _nothing(self) -> Audio:
        return np.zeros((self._sources, len(self._held), 0), self._held.dtype)

    def _estimates(self, stop: int, length: int | None) -> Audio:
        start, (before, after) = self._done, self._work.reach
        first = max(start - before, 0)
        # What lies before the context of this step is not needed again.
        self._held = self._held[:, first - self._offset :]
        self._offset = first
        window = self._held[:, : stop + after - first]
        self._done = stop
        return np.stack(self._work.estimates(window, first, start, stop, length))


class BetweenRates:
    """Separates a stream at another rate than its own; what resampling loses of it is shared equally.

    Parameters
    ----------
    steps
        Does the work, at the rate of the analysis.
    sources
        How many there are.
    stream_rate, analysis_rate
        Hertz.
    block
        Samples of the stream that are resampled at a time, so that their sizes do not depend on what is pushed.
    channels, dtype
        Of the stream.
    share_rest
        Whether estimates are to add up to the stream.
    """

    def __init__(
        self,
        steps: Work,
        sources: int,
        stream_rate: int,
        analysis_rate: int,
        block: int,
        channels: int,
        dtype: Any,
        share_rest: bool = True,
    ) -> None:
        self._steps, self._block, self._share_rest = steps, block, share_rest
        self._down = StreamResampler(stream_rate, analysis_rate, channels, dtype)
        self._up = StreamResampler(analysis_rate, stream_rate, sources * channels, dtype)
        self._shape = sources, channels
        # Samples that no block is full of yet; those whose estimates are still to come.
        self._waiting = self._late = np.zeros((channels, 0), dtype)

    def push(self, samples: Audio) -> Audio:
        """Take samples [channels, n]; return estimates [sources, channels, m] that are ready."""
        self._late = np.concatenate([self._late, samples], axis=-1)
        self._waiting = np.concatenate([self._waiting, samples], axis=-1)
        pieces = []
        while self._waiting.shape[-1] >= self._block:
            pieces.append(self._resampled(self._steps.push(self._down.push(self._waiting[:, : self._block]))))
            self._waiting = self._waiting[:, self._block :]
        return self._whole(np.concatenate(pieces, axis=-1) if pieces else np.zeros((*self._shape, 0)))

    def finish(self) -> Audio:
        """Return the estimates of what is left."""
        rest = np.concatenate([self._down.push(self._waiting), self._down.finish()], axis=-1)
        pieces = [self._resampled(self._steps.push(rest)), self._resampled(self._steps.finish())]
        pieces.append(self._apart(self._up.finish()))
        # Rates without a common sample at the end leave one more or less.
        joined = np.concatenate(pieces, axis=-1)
        return self._whole(np.stack([fit_length(one, self._late.shape[-1]) for one in joined]))

    def _resampled(self, estimates: Audio) -> Audio:
        sources, channels, count = estimates.shape
        return self._apart(self._up.push(estimates.reshape(sources * channels, count)))

    def _apart(self, rows: Audio) -> Audio:
        return rows.reshape(*self._shape, rows.shape[-1])

    def _whole(self, estimates: Audio) -> Audio:
        heard = self._late[:, : estimates.shape[-1]]
        self._late = self._late[:, estimates.shape[-1] :]
        estimates = estimates[..., : heard.shape[-1]].astype(heard.dtype, copy=False)
        if self._share_rest:
            estimates = estimates + (heard - estimates.sum(axis=0)) / heard.dtype.type(len(estimates))
        return estimates


class _Silence:
    """As late as steps are, without any work: estimates of nothing."""

    def __init__(self, reach: int, step: int) -> None:
        self._reach, self._step = reach, step
        self._end = self._done = 0

    def push(self, samples: Audio) -> Audio:
        self._end += samples.shape[-1]
        ready = max((self._end - self._reach) // self._step * self._step, self._done)
        count, self._done = ready - self._done, ready
        return np.zeros((1, 1, count), np.float32)

    def finish(self) -> Audio:
        return np.zeros((1, 1, self._end - self._done), np.float32)


def delay_between_rates(stream_rate: int, analysis_rate: int, block: int, reach: int, step: int) -> int:
    """Return samples of the stream by which estimates come late at worst, found out with silence.

    Parameters
    ----------
    stream_rate, analysis_rate
        Hertz.
    block
        Samples of the stream that are resampled at a time.
    reach, step
        Samples of the analysis after a step that its estimates depend on, and in a step.
    """
    trial = BetweenRates(_Silence(reach, step), 1, stream_rate, analysis_rate, block, 1, np.float32)
    given, worst = 0, block - 1
    for number in range(1, max(round(_TRIAL_SECONDS * stream_rate / block), 50) + 1):
        given += trial.push(np.zeros((1, block), np.float32)).shape[-1]
        # Just before the next block is full.
        worst = max(worst, (number + 1) * block - 1 - given)
    return worst + _GRACE
