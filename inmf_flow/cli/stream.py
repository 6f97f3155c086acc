"""``inmf stream``: separate what comes through a pipe or from a sound card, as it comes."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inmf_flow.cli.options import Models, PaperMask, Wiener, mask_of, named_models

if TYPE_CHECKING:
    from inmf_flow.audio import Sink, Sinks
    from inmf_flow.factorize import INMF
    from inmf_flow.separation import StreamSeparator
    from inmf_flow.separation.live import Meter

# Seconds between two meter lines, on a terminal and off it.
_ON_TERMINAL, _ELSEWHERE = 0.25, 30.0
_STDOUT = "-"

_Outputs = Annotated[
    list[str],
    typer.Option(
        "-o",
        "--output",
        metavar="DIR|NAME=PATH|-",
        help="A folder for a WAV file of each source; or one source to a .wav file or a named pipe, or to standard "
        "output as NAME=-; or all to standard output, interleaved. Repeatable.",
    ),
]
_Transform = Annotated[
    str, typer.Option(metavar="SPEC", help="A transform with its options, invertible; it makes most of the delay.")
]
_Block = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Work is done in steps so long. [default: a quarter of the delay]"),
]
_Lookahead = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Longest wait for models with a context. [default: their context]"),
]
_Updates = Annotated[int, typer.Option(min=1, help="Updates of each frame's activations, at most.")]
_Warm = Annotated[bool, typer.Option("--warm-start", help="Start frames where the one before ended.")]
_Budget = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Share of a block's duration after which its updates end. [default: never]"),
]
_Learn = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=K", help="A source of K templates that is learned from the stream; repeatable."),
]
_Adapt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[=SECONDS]",
        help="A source whose dictionary follows the stream; what it heard counts half after so long. Repeatable.",
    ),
]
_Input = Annotated[str, typer.Option("-i", "--input", metavar="PATH|-", help="WAV or bare samples: a file or pipe.")]
_Raw = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT", help="Bare samples come in: u8, s16le, s24le, s32le, f32le or f64le. [default: WAV comes in]"
    ),
]
_Rate = Annotated[int | None, typer.Option(min=1, metavar="HERTZ", help="Of bare samples, or to ask a device for.")]
_Channels = Annotated[int, typer.Option(min=1, max=1024, help="Of bare samples, or to ask a device for.")]
_RawOutput = Annotated[str, typer.Option(metavar="FORMAT", help="Of samples to pipes and standard output.")]
_Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="Read this sound card: a number, a part of its name, or 'default'.")
]
_AnalysisRate = Annotated[
    int | None,
    typer.Option(
        min=100, metavar="HERTZ", help="Analyse at this rate. [default: the stream's, or what the models know]"
    ),
]
_Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="End when nothing has come for so long. [default: wait]")
]
_Quiet = Annotated[bool, typer.Option("--quiet", help="No meter.")]


def stream(
    model: Models,
    output: _Outputs,
    input_: _Input = "-",
    transform: _Transform = "stft:n_fft=1024,hop_length=256",
    block: _Block = None,
    lookahead: _Lookahead = None,
    max_iter: _Updates = 20,
    warm_start: _Warm = False,
    budget: _Budget = None,
    learn: _Learn = None,
    adapt: _Adapt = None,
    wiener: Wiener = None,
    paper_mask: PaperMask = False,
    raw: _Raw = None,
    rate: _Rate = None,
    channels: _Channels = 1,
    raw_output: _RawOutput = "s16le",
    device: _Device = None,
    analysis_rate: _AnalysisRate = None,
    timeout: _Timeout = None,
    quiet: _Quiet = False,
) -> None:
    """Separate a stream as it comes: WAV or bare samples on standard input, one output a source.

    Outputs are as long as the stream and begin with it. End of input, Ctrl-C and a reader that goes end it with whole
    files.
    """
    from inmf_flow.audio import SAMPLE_FORMATS, Sinks
    from inmf_flow.errors import ArgumentError
    from inmf_flow.factorize import INMF
    from inmf_flow.separation import StreamSeparator
    from inmf_flow.separation.live import BlockQueue, run_stream

    models: dict[str, INMF | int] = {name: INMF.load(path) for name, path in named_models(model).items()}
    models |= _numbers(learn or [], "--learn", int, "components")
    half_lives = _numbers(adapt or [], "--adapt", float, "seconds", default=10.0)
    mask = mask_of(wiener, paper_mask)
    # What is wrong is told before anything is waited for.
    for option, encoding in (("--raw-output", raw_output), ("--raw", raw)):
        if encoding is not None and encoding not in SAMPLE_FORMATS:
            raise ArgumentError("no such format", where=option, got=repr(encoding), expected=", ".join(SAMPLE_FORMATS))
    targets = _targets(output, list(models))
    with ExitStack() as stack:
        source = _open_input(stack, input_, device, raw, rate, channels)
        separator = StreamSeparator(
            models,
            transform,
            source.sample_rate,
            None if block is None else max(round(block * source.sample_rate), 1),
            None if lookahead is None else max(round(lookahead * source.sample_rate), 0),
            mask=mask,
            max_iter=max_iter,
            warm_start=warm_start,
            budget=budget,
            adapt=half_lives,
            analysis_rate=analysis_rate,
        )
        stopped = stack.enter_context(_stopped_by_signals())
        sinks = stack.enter_context(Sinks(_open_outputs(targets, source, separator.names, raw_output)))
        meter = _MeterLine(separator, sinks, quiet)
        total = run_stream(
            BlockQueue(source.blocks(separator.block)),
            separator,
            sinks,
            stopped=stopped,
            on_look=meter.show,
            look_every=_ON_TERMINAL if meter.live else _ELSEWHERE,
            timeout=timeout,
            lost=source.lost,
        )
        meter.end()
    if not quiet:
        _say_total(total, separator, stopped.is_set())


class _Source:
    """Where a stream comes from."""

    def __init__(
        self, sample_rate: int, channels: int, blocks: Callable[[int], Iterator[Any]], lost: Callable[[], int]
    ) -> None:
        self.sample_rate, self.channels, self.blocks, self.lost = sample_rate, channels, blocks, lost


def _open_input(
    stack: ExitStack, path: str, device: str | None, raw: str | None, rate: int | None, channels: int
) -> _Source:
    from inmf_flow.audio import PcmFormat, PcmReader
    from inmf_flow.errors import ArgumentError
    from inmf_flow.separation.live import blocks_of

    if device is not None:
        if raw is not None or path != _STDOUT:
            raise ArgumentError("a device needs no other input", where="--device", got=raw or path)
        from inmf_flow.audio.device import DeviceInput

        card = stack.enter_context(DeviceInput(device, rate, channels))
        return _Source(card.sample_rate, card.channels, lambda _: card.blocks(), lambda: card.lost)
    if raw is not None and rate is None:
        raise ArgumentError("bare samples need their rate", where="--rate", expected="hertz")
    if raw is None and rate is not None:
        raise ArgumentError("WAV says its rate itself", where="--rate", got=rate, hint="For bare samples give --raw.")
    if path == _STDOUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise ArgumentError(
                "nothing comes in",
                where="standard input",
                got="a terminal",
                hint="Such as: ffmpeg -i FILE -f wav - | inmf stream …",
            )
        # Not through sys.stdin: its lock would hold up the end while its thread waits for more.
        file = open(os.dup(sys.stdin.fileno()), "rb", buffering=0)  # noqa: SIM115
        name = "standard input"
    else:
        file, name = open(path, "rb", buffering=0), path  # noqa: SIM115
    stack.callback(file.close)
    reader = PcmReader(file, None if raw is None else PcmFormat(rate or 1, channels, raw), name)
    form = reader.format
    return _Source(form.sample_rate, form.channels, lambda block: blocks_of(reader, block), lambda: 0)


def _numbers(
    given: list[str], where: str, kind: type[int] | type[float], what: str, default: float | None = None
) -> dict[str, Any]:
    """Return NAME=NUMBER as a mapping; the number may be left out where there is a default."""
    from inmf_flow.errors import ArgumentError
    from inmf_flow.names import check_name

    numbers: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            number = default if not equals and default is not None else kind(value)
        except ValueError:
            raise ArgumentError(f"not of the form NAME={what.upper()}", where=where, got=repr(text)) from None
        if name in numbers:
            raise ArgumentError(f"the source {name!r} is given twice", where=where)
        numbers[check_name(name, where)] = number
    return numbers


def _targets(given: list[str], names: list[str]) -> dict[str, Path | None]:
    """Return where each source, or `ALL_SOURCES`, goes: a file or pipe, None for standard output."""
    from inmf_flow.audio import ALL_SOURCES
    from inmf_flow.errors import ArgumentError

    targets: dict[str, Path | None] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals:
            if len(given) > 1:
                raise ArgumentError("outputs of all sources and of one exclude each other", where="--output", got=text)
            return {ALL_SOURCES: None} if text == _STDOUT else {each: Path(text) / f"{each}.wav" for each in names}
        if name not in names or name in targets or not place:
            raise ArgumentError(
                "a source is written twice" if name in targets else "no such source is there to write",
                where="--output",
                got=repr(text),
                expected=f"NAME=PATH, NAME one of {', '.join(names)}",
            )
        targets[name] = None if place == _STDOUT else Path(place)
    if sum(path is None for path in targets.values()) > 1:
        raise ArgumentError(
            "only one source fits into standard output", where="--output", hint="All of them, interleaved: -o -"
        )
    for path in targets.values():
        if path is not None and not _is_pipe(path) and path.suffix.lower() != ".wav":
            raise ArgumentError(
                "no such pipe is there, and no such file can be written",
                where="--output",
                got=path,
                expected="a name that ends in .wav, or a pipe made by mkfifo",
            )
    return targets


def _is_pipe(path: Path) -> bool:
    return path.exists() and stat.S_ISFIFO(path.stat().st_mode)


def _open_outputs(targets: dict[str, Path | None], source: _Source, names: list[str], encoding: str) -> dict[str, Sink]:
    from inmf_flow.audio import ALL_SOURCES, FileSink, PcmFormat, PipeSink

    rate, channels = source.sample_rate, source.channels
    sinks: dict[str, Sink] = {}
    try:
        for name, path in targets.items():
            if path is None:
                side_by_side = channels * (len(names) if name == ALL_SOURCES else 1)
                form = PcmFormat(rate, side_by_side, encoding)
                sinks[name] = PipeSink(lambda: os.dup(sys.stdout.fileno()), form, "standard output")
            elif _is_pipe(path):
                form = PcmFormat(rate, channels, encoding)
                sinks[name] = PipeSink(partial(os.open, path, os.O_WRONLY), form, str(path))
            else:
                sinks[name] = FileSink(path, rate, channels)
    except BaseException:
        for sink in sinks.values():
            sink.abandon()
        raise
    return sinks


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C or SIGTERM sets; the second ends the program at once."""
    stopped = threading.Event()

    def stop(number: int, _frame: Any) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _MeterLine:
    """Levels, load and delay on one line of a terminal, or now and then on one of their own."""

    def __init__(self, separator: StreamSeparator, sinks: Sinks, quiet: bool) -> None:
        self._separator, self._sinks, self._quiet = separator, sinks, quiet
        self.live = sys.stderr.isatty()
        self._width = 0

    def show(self, meter: Meter) -> None:
        for name in self._sinks.newly_gone():
            self._print(f"inmf: nobody reads {name or 'standard output'} any more", last=True)
        if self._quiet:
            return
        levels = "  ".join(f"{name} {level:6.1f} dB" for name, level in meter.levels.items())
        parts = [_clock(meter.seconds), levels, f"load {100 * meter.load:3.0f} %", _delay(self._separator)]
        parts += [f"{meter.late} blocks late"] if meter.late else []
        parts += [f"{meter.lost} blocks lost"] if meter.lost else []
        parts += [f"waiting for input, {meter.waiting:.0f} s"] if meter.waiting > 1 else []
        self._print("  ".join(parts), last=not self.live)

    def end(self) -> None:
        if self._width:
            print(file=sys.stderr)

    def _print(self, text: str, *, last: bool) -> None:
        ahead = "\r" if self._width else ""
        print(ahead + text.ljust(self._width), end="\n" if last else "", file=sys.stderr, flush=True)
        self._width = 0 if last else len(text)


def _say_total(meter: Meter, separator: StreamSeparator, stopped: bool) -> None:
    text = (
        f"inmf: {_clock(meter.seconds)} separated{' until stopped' if stopped else ''}, "
        f"load {100 * meter.total_load:.1f} %, {_delay(separator)}, {meter.late} blocks late"
    )
    typer.echo(f"{text}, {meter.lost} lost" if meter.lost else text, err=True)


def _delay(separator: StreamSeparator) -> str:
    return f"delay {1000 * separator.delay / separator.sample_rate:.0f} ms"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}:{rest:04.1f}"
