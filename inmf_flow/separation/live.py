"""From what brings audio to where its sources go: one loop, which ends well however it ends."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inmf_flow.audio import PcmReader, Sinks
from inmf_flow.separation.stream import StreamSeparator

Float32 = NDArray[np.float32]

# Blocks that a file may be read ahead; what comes live waits in the pipe.
_READ_AHEAD = 8
# Seconds within which a wish to stop is heard while nothing comes.
_LOOK = 0.1
_QUIETEST = 1e-10


@dataclass
class Meter:
    """What can be said of a stream since the last look at it, and in all.

    Attributes
    ----------
    levels
        Root mean square of each source in decibels of full scale, since the last look.
    load
        Time that separation took, in times of the audio's duration, since the last look.
    total_load
        The same in all.
    seconds
        Of the stream, that were read.
    late
        Blocks that took longer than they last, in all: of a live stream each may be a drop-out.
    lost
        Samples that an input device could not hand over, in all.
    waiting
        Seconds for which nothing has come.
    """

    levels: dict[str, float] = field(default_factory=dict)
    load: float = 0.0
    total_load: float = 0.0
    seconds: float = 0.0
    late: int = 0
    lost: int = 0
    waiting: float = 0.0


class BlockQueue:
    """Blocks of audio from another thread, so that whoever takes them can stop while none comes.

    Parameters
    ----------
    blocks
        Run in a thread of its own; may wait for ever.
    """

    def __init__(self, blocks: Iterator[Float32]) -> None:
        self._queue: queue.Queue[Float32 | BaseException | None] = queue.Queue(_READ_AHEAD)
        self._thread = threading.Thread(target=self._run, args=(blocks,), name="input", daemon=True)
        self._thread.start()

    def take(self, seconds: float) -> Float32 | None:
        """Return the next block, or None at the end; raise `queue.Empty` when none has come after so many seconds."""
        found = self._queue.get(timeout=seconds)
        if isinstance(found, BaseException):
            raise found
        return found

    def _run(self, blocks: Iterator[Float32]) -> None:
        try:
            for block in blocks:
                self._queue.put(block)
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)


def blocks_of(reader: PcmReader, block: int) -> Iterator[Float32]:
    """Yield what a reader has, at most ``block`` samples at a time, as soon as there are any."""
    while (samples := reader.read(block)).shape[1]:
        yield samples


def run_stream(
    blocks: BlockQueue,
    separator: StreamSeparator,
    sinks: Sinks,
    *,
    stopped: threading.Event,
    on_look: Callable[[Meter], None],
    look_every: float = 1.0,
    timeout: float | None = None,
    lost: Callable[[], int] = lambda: 0,
) -> Meter:
    """Separate a stream until it ends, is stopped, or nobody listens; what was separated by then is written out whole.

    Estimates are written without the delay: they are as long as the stream and begin with it.

    Parameters
    ----------
    blocks
        The stream, [channels, samples] each.
    separator
        Fresh.
    sinks
        Take the sources by their names, or some of them; closed by the caller.
    stopped
        Set it to end the stream.
    on_look
        Called every ``look_every`` seconds, and at the end.
    timeout
        Seconds without input after which the stream counts as ended; None: never.
    lost
        Samples that were lost before they came here.

    Returns
    -------
    meter
        In all.

    Raises
    ------
    InmfError
        When the stream holds what is no audio, or a sink cannot be written; what was separated is written before.
    """
    gauge = _Gauge(separator, on_look, look_every, lost)
    skip = separator.delay
    try:
        while not stopped.is_set() and not sinks.gone:
            try:
                block = blocks.take(_LOOK)
            except queue.Empty:
                gauge.wait()
                if timeout is not None and gauge.meter.waiting > timeout:
                    break
                continue
            if block is None:
                break
            started = time.perf_counter()
            estimates = separator.push(block)
            gauge.add(block.shape[1], time.perf_counter() - started, estimates)
            drop = min(skip, block.shape[1])
            skip -= drop
            if drop < block.shape[1]:
                sinks.write({name: audio[:, drop:] for name, audio in estimates.items()})
    finally:
        # Also after an error: what came before it is good.
        if gauge.meter.seconds and not sinks.gone:
            sinks.write({name: audio[:, skip:] for name, audio in separator.flush().items()})
    gauge.look()
    return gauge.meter


class _Gauge:
    """Keeps the meter."""

    def __init__(
        self,
        separator: StreamSeparator,
        on_look: Callable[[Meter], None],
        every: float,
        lost: Callable[[], int],
    ) -> None:
        self._separator, self._on_look, self._every, self._lost = separator, on_look, every, lost
        self.meter = Meter(levels=dict.fromkeys(separator.names, _decibels(0.0)))
        self._total = 0.0
        self._last_block = self._last_look = time.monotonic()
        self._reset()

    def _reset(self) -> None:
        self._spent, self._samples = 0.0, 0
        self._energy = dict.fromkeys(self._separator.names, 0.0)

    def wait(self) -> None:
        """Note that nothing came."""
        self.meter.waiting = time.monotonic() - self._last_block
        self._look_in_time()

    def add(self, samples: int, spent: float, estimates: dict[str, Float32]) -> None:
        """Note a block."""
        rate = self._separator.sample_rate
        self._last_block, self.meter.waiting = time.monotonic(), 0.0
        self.meter.seconds += samples / rate
        self._samples += samples
        self._spent += spent
        self._total += spent
        # A block that completes no step costs nothing: a step's time is held against a step's length.
        self.meter.late += spent > max(samples, self._separator.block) / rate
        for name, audio in estimates.items():
            self._energy[name] += float(np.vdot(audio, audio)) / len(audio)
        self._look_in_time()

    def look(self) -> None:
        """Tell what there is to say since the last look."""
        meter = self.meter
        if self._samples:
            meter.load = self._spent * self._separator.sample_rate / self._samples
            meter.levels = {name: _decibels(energy / self._samples) for name, energy in self._energy.items()}
        meter.total_load = self._total / meter.seconds if meter.seconds else 0.0
        meter.lost = self._lost()
        self._on_look(meter)
        self._last_look = time.monotonic()
        self._reset()

    def _look_in_time(self) -> None:
        if time.monotonic() - self._last_look >= self._every:
            self.look()


def _decibels(power: float) -> float:
    return float(10 * np.log10(max(power, _QUIETEST)))
