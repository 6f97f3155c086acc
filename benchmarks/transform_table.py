"""What transforms cost: a section of results.json, and the tables of it in docs/transforms.md.

Called as a program this puts the tables of results.json into the page.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from results import RESULTS, load_section, machine_sentence, save_section, write_between

SECTION = "transforms"
PAGE = RESULTS.parent.parent / "docs" / "transforms.md"
BEGIN, END = "<!-- costs: begin -->", "<!-- costs: end -->"
_NOTHING = "–"
# Pairs stay in one piece.
_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Cost:
    """What one transform costs on one recording.

    Attributes
    ----------
    transform
        As users write it.
    clip
        Which recording, and its sample rate in hertz.
    points
        Points that a second of audio has.
    analysis, synthesis
        Seconds of audio that a second of one core gets through; None where there is no inverse.
    snr_db, promise_db
        Decibels of the round trip, and what the transform promises; None where there is no inverse.
    """

    transform: str
    clip: str
    sample_rate: int
    points: float
    analysis: float
    synthesis: float | None
    snr_db: float | None
    promise_db: float | None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Another library's CPU time over ours, medians over the turns, and what the round trips of both leave."""

    peer: str
    ours: str
    clip: str
    sample_rate: int
    analysis: float
    synthesis: float
    both: float
    snr_db: float
    our_snr_db: float
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolution:
    """What a transform tells apart around a frequency in hertz.

    Attributes
    ----------
    spacing
        Milliseconds and hertz between points; None where points lie anywhere.
    widths
        Milliseconds that an impulse is shown for and hertz over which a band answers to a tone, both at half height.
    """

    transform: str
    sample_rate: int
    hertz: float
    spacing: list[float] | None
    widths: list[float] | None


@dataclass(frozen=True)
class Measured:
    """All of it, and what it was measured on."""

    costs: list[Cost]
    comparisons: list[Comparison]
    resolutions: list[Resolution]
    machine: dict[str, Any]


def load(path: Path = RESULTS) -> Measured:
    """Read the section of a results file; nothing where there is none."""
    document = load_section(SECTION, path) or {"costs": [], "comparisons": [], "resolutions": [], "machine": {}}
    return Measured(
        [Cost(**one) for one in document["costs"]],
        [Comparison(**one) for one in document["comparisons"]],
        [Resolution(**one) for one in document["resolutions"]],
        document["machine"],
    )


def save(measured: Measured, path: Path = RESULTS) -> None:
    """Write the section into a results file, in place of an earlier one."""
    save_section(SECTION, asdict(measured), path)


def write_tables(measured: Measured, page: Path = PAGE) -> None:
    """Put the tables between the page's two markers; `ValueError` where it does not have both, in their order."""
    write_between(page, BEGIN, END, tables(measured))


def tables(measured: Measured) -> str:
    """Return three Markdown tables: costs, other libraries, and resolutions; and what all was measured on."""
    clips = list(dict.fromkeys((one.clip, one.sample_rate) for one in measured.costs))
    named = " / ".join(f"{clip} ({rate / 1000:g} kHz)" for clip, rate in clips)
    return "\n".join(
        [
            f"Figures are of {named}:",
            "",
            *_cost_rows(measured.costs),
            "",
            *_comparison_rows(measured.comparisons),
            "",
            *_resolution_rows(measured.resolutions),
            "",
            f"Measured on {machine_sentence(measured.machine)}.",
        ]
    )


def _cost_rows(costs: list[Cost]) -> list[str]:
    rows = [
        "| transform | 1,000 points a second | analysis, × real time | synthesis, × real time | SNR, dB | promise |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, of_clips in _by_name(costs, "transform").items():
        cells = [
            _slashed([f"{one.points / 1000:.3g}" for one in of_clips]),
            _slashed([_times(one.analysis) for one in of_clips]),
            _slashed([_times(one.synthesis) for one in of_clips]),
            _slashed([_decibels(one.snr_db) for one in of_clips]),
            _decibels(of_clips[0].promise_db),
        ]
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return rows


def _comparison_rows(comparisons: list[Comparison]) -> list[str]:
    rows = [
        "| their time over ours | analysis | synthesis | both | their SNR, dB | our SNR, dB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, of_clips in _by_name(comparisons, "peer").items():
        cells = [
            _slashed([_ratio(one.analysis) for one in of_clips]),
            _slashed([_ratio(one.synthesis) for one in of_clips]),
            _slashed([_ratio(one.both) for one in of_clips]),
            _slashed([_decibels(one.snr_db) for one in of_clips]),
            _slashed([_decibels(one.our_snr_db) for one in of_clips]),
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def _resolution_rows(resolutions: list[Resolution]) -> list[str]:
    places = dict.fromkeys((one.sample_rate, one.hertz) for one in resolutions)
    rows = [
        f"| | {' | '.join(f'at {hertz:,g} Hz' for _, hertz in places)} |",
        f"|---|{'---|' * len(places)}",
    ]
    for name, of_places in _by_name(resolutions, "transform").items():
        rows.append(f"| `{name}` | {' | '.join(_resolution(one) for one in of_places)} |")
    return rows


def _by_name(rows: list[Any], name: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(getattr(row, name), []).append(row)
    return found


def _slashed(cells: list[str]) -> str:
    """Return what each recording has; once where none has it."""
    return cells[0] if set(cells) == {_NOTHING} else f"{_SPACE}/{_SPACE}".join(cells)


def _ratio(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _times(value: float | None) -> str:
    """Return two digits: the third differs from run to run."""
    return _NOTHING if value is None else f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


def _decibels(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.0f}"


def _resolution(one: Resolution) -> str:
    if one.spacing is None or one.widths is None:
        return "points anywhere"
    return f"**{_pair(one.widths, 2)}**; {_pair(one.spacing, 3)}"


def _pair(values: list[float], digits: int) -> str:
    milliseconds, hertz = (f"{float(f'{value:.{digits}g}'):,g}" for value in values)
    return f"{milliseconds} ms × {hertz} Hz".replace(" ", _SPACE)


if __name__ == "__main__":
    write_tables(load())
    print(f"the tables are in {PAGE.parent.name}/{PAGE.name}")
