"""Sound cards, where PortAudio is there: the optional `sounddevice` package reads them."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inmf_flow.errors import ArgumentError, AudioError

Float32 = NDArray[np.float32]

# Blocks that wait before they count as lost: some seconds of most block lengths.
_MOST_WAITING = 256


class DeviceInput:
    """Reads an input device block by block.

    Parameters
    ----------
    device
        Its number, a part of its name, or ``"default"``.
    sample_rate, channels
        Hertz and channels to ask for; by default the device's own rate, and one channel.
    block
        Samples at a time.

    Attributes
    ----------
    sample_rate, channels
        What is read.
    lost
        Blocks that the device or this program could not hand over in time, so far.

    Raises
    ------
    ArgumentError
        When the package or PortAudio is missing, or there is no such device.
    """

    def __init__(self, device: str, sample_rate: int | None = None, channels: int = 1, block: int = 0) -> None:
        self._sound = _sounddevice()
        chosen: int | str | None = None if device == "default" else int(device) if device.isdigit() else device
        try:
            found = self._sound.query_devices(chosen, "input")
            self.sample_rate = int(sample_rate or found["default_samplerate"])
            self._stream = self._sound.InputStream(
                device=chosen,
                samplerate=self.sample_rate,
                channels=channels,
                blocksize=block,
                dtype="float32",
                callback=self._take,
                finished_callback=self._finish,
            )
        except (ValueError, self._sound.PortAudioError) as error:
            raise ArgumentError(
                "the input device cannot be opened",
                where="--device",
                got=f"{device}: {error}",
                hint="`python -m sounddevice` lists the devices.",
            ) from None
        self.channels, self.lost = channels, 0
        self._blocks: queue.Queue[Float32 | None] = queue.Queue(_MOST_WAITING)

    def __enter__(self) -> DeviceInput:
        self._stream.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def blocks(self) -> Iterator[Float32]:
        """Yield blocks [channels, samples] until the device is gone or closed."""
        while (block := self._blocks.get()) is not None:
            yield block

    def _take(self, data: NDArray[Any], _frames: int, _time: Any, status: Any) -> None:
        self.lost += bool(status)
        try:
            self._blocks.put_nowait(np.ascontiguousarray(data.T, np.float32))
        except queue.Full:
            self.lost += 1

    def _finish(self) -> None:
        try:
            self._blocks.put_nowait(None)
        except queue.Full:
            # Whoever takes blocks is hopelessly behind: end where the last block can be marked.
            self._blocks.get_nowait()
            self._blocks.put_nowait(None)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError as error:
        raise ArgumentError(
            "reading a device needs the package sounddevice",
            where="--device",
            got=str(error),
            hint="pip install 'inmf-flow[live]'",
        ) from None
    except OSError as error:
        # The package is there, the library that it calls is not.
        raise AudioError(
            "PortAudio is not installed", where="--device", got=str(error), hint="On Debian: apt install libportaudio2"
        ) from None
    return sounddevice
