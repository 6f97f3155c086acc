"""Measure separation in the paper's protocol, paired example by example: windows, transforms, rates, presets and time.

The sets are those that build_sets.py makes. They are split by speaker and by piece: presets, contexts and updates were
chosen on the development examples, and figures are of the others. The nodes of the default hat field are older: they
were chosen on four examples of speech (TUNED_ON in scenes.py), in which two of the test's speakers are heard too.

    python benchmarks/separation.py                        # everything, half an hour on one core
    python benchmarks/separation.py --case windows --case presets --sets benchmarks/data
    python benchmarks/separation.py --split development    # what choices are made on

The result goes into the section "separation" of benchmarks/results.json, tables to docs/separation.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from measure import one_thread
from numpy.typing import NDArray
from results import RESULTS, load_section, machine, save_section, write_between

from inmf_flow import INMF, Ensemble, PointSet, separate
from inmf_flow.audio import read_audio, resample
from inmf_flow.evaluate import MetricRow, PairedDifference, paired_difference
from inmf_flow.evaluate.bss_eval import bss_eval
from inmf_flow.separation import MemberTransforms

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "separation.md"
SECTION = "separation"
RATE = 16000
WINDOWS = (1000, 1500, 2000, 2500)
# By speaker and by piece: nobody who is heard on one side is heard on the other.
SPLITS = {
    "speech": {
        "development": ("002", "008", "010", "012", "019", "024", "030", "034", "040"),
        "test": ("005", "009", "013", "015", "016", "018", "029", "031", "032", "033", "035", "038"),
    },
    "music": {
        "development": ("001", "002", "003", "004", "005", "006", "007", "008", "017", "018"),
        "test": ("009", "010", "011", "012", "013", "014", "015", "016", "019", "020"),
    },
}
Audio = NDArray[np.float32]


class Example:
    """Training audio of each source, true sources and their mixture, 16 kHz."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.name = f"{kind}-{folder.name}"
        self.kind = kind
        self._folder = folder
        self._points: dict[tuple[str, int], list[PointSet]] = {}

    def _read(self, stem: str) -> list[Audio]:
        paths = sorted(self._folder.glob(f"{stem}_?.flac"))
        return [read_audio(path)[0][0] for path in paths]

    @cached_property
    def training(self) -> list[Audio]:
        """What each source's dictionary is learned from."""
        return self._read("train")

    @cached_property
    def references(self) -> list[Audio]:
        """The true sources."""
        return self._read("ref")

    @cached_property
    def mixture(self) -> Audio:
        """Their sum."""
        audio: Audio = read_audio(self._folder / "mix.flac")[0][0]
        return audio

    def points(self, specs: Sequence[str], rate: int = RATE) -> list[PointSet]:
        """Return the points of each source's training audio by one or several transforms."""
        found = []
        for spec in specs:
            if (spec, rate) not in self._points:
                transform = get_transform_of(spec)
                audio = [a if rate == RATE else resample(a[None], RATE, rate)[0] for a in self.training]
                self._points[spec, rate] = [transform.analyze(a, rate).without_synthesis() for a in audio]
            found.append(self._points[spec, rate])
        return [sum(parts[1:], parts[0]) for parts in zip(*found, strict=True)]

    def score(self, estimates: Sequence[Audio], references: Sequence[Audio] | None = None) -> list[MetricRow]:
        """Return SDR, SIR and SAR of each source."""
        truth = np.stack(references or self.references).astype(np.float64)
        scores = bss_eval(truth, np.stack(estimates).astype(np.float64))
        return [
            MetricRow(self.name, f"source-{number}", metric, float(row[number]), np.nan, np.nan)
            for metric, row in zip(("sdr", "sir", "sar"), scores, strict=True)
            for number in range(len(truth))
        ]


def get_transform_of(spec: str) -> Any:
    """Return a transform by its spec, made once."""
    from inmf_flow.transform import get_transforms

    if spec not in _TRANSFORMS:
        (_TRANSFORMS[spec],) = get_transforms([spec], "benchmark")
    return _TRANSFORMS[spec]


_TRANSFORMS: dict[str, Any] = {}


def stft(n: int, hop: int | None = None) -> str:
    """Return the spec of the paper's STFT: half overlap."""
    return f"stft:n_fft={n},hop_length={hop or n // 2}"


@dataclass(frozen=True)
class Member:
    """A model of every source: what it is fitted to, how, and what it separates through."""

    analyze: tuple[str, ...]
    synthesize: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """One or several members whose estimates are averaged, and how mixtures are separated."""

    members: tuple[Member, ...]
    max_iter: int = 100
    refine: float | None = None


def single(analyze: str | Sequence[str], synthesize: str, *, updates: int = 100, **settings: Any) -> Method:
    """Return a method of one member."""
    specs = (analyze,) if isinstance(analyze, str) else tuple(analyze)
    return Method((Member(specs, synthesize, settings),), updates)


# Matrix NMF by plain multiplicative updates from a random start, as everybody has it.
CLASSICAL = {
    "n_components": 20,
    "field": "matrix",
    "init": "random",
    "relaxation": 1.0,
    "max_iter": 200,
    "weights": "uniform",
}
PAPER = {"n_components": 20, "field": "hat"}
# As in pipelines/ensemble.yaml and pipelines/music-ensemble.yaml.
_SPEECH = {"n_components": 40, "field": "hat:nodes=512", "max_iter": 80}
SPEECH = Method(
    tuple(
        Member((stft(n),), stft(n), {**_SPEECH, "context": context, "random_state": seed})
        for seed, (n, context) in enumerate(((1000, 0.0625), (1500, 0.0938), (750, 0.0704), (1250, 0.0782)))
    ),
    60,
    1.3,
)
_MUSIC = {"n_components": 20, "field": "hat:nodes=1024", "max_iter": 40}
MUSIC = Method(
    tuple(
        Member((stft(4000),), stft(4000, 1000), {**_MUSIC, "power": power, "random_state": seed})
        for seed, power in enumerate((0.7, 0.7, 0.7, 1.0))
    ),
    60,
    1.3,
)
PRESETS = {"speech": SPEECH, "music": MUSIC}


class Bench:
    """Runs methods over examples; models are fitted once."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples
        self._models: dict[Any, list[INMF]] = {}
        self._rows: dict[Any, list[MetricRow]] = {}

    def models(self, example: Example, member: Member, rate: int = RATE) -> list[INMF]:
        """Return the fitted model of each source."""
        key = example.name, member.analyze, tuple(sorted(member.settings.items())), rate
        if key not in self._models:
            sets = example.points(member.analyze, rate)
            self._models[key] = [INMF(**member.settings).fit(points) for points in sets]
        return self._models[key]

    def estimates(
        self, example: Example, method: Method, mixture: Audio | None = None, rate: int = RATE
    ) -> list[Audio]:
        """Return the estimates of an example's sources, or those of another mixture of them."""
        each = [self.models(example, member) for member in method.members]
        count = len(example.training)
        models: dict[str, INMF]
        if len(each) == 1:
            models = {str(number): each[0][number] for number in range(count)}
        else:
            models = {
                str(number): Ensemble({str(place): own[number] for place, own in enumerate(each)})
                for number in range(count)
            }
        transforms = MemberTransforms(tuple(get_transform_of(member.synthesize) for member in method.members))
        audio = example.mixture if mixture is None else mixture
        found = separate(audio, rate, models, transforms, max_iter=method.max_iter, refine=method.refine)
        return list(found.values())

    def rows(self, method: Method) -> list[MetricRow]:
        """Return the scores of a method on all examples."""
        key = repr(method)
        if key not in self._rows:
            self._rows[key] = [
                row for example in self.examples for row in example.score(self.estimates(example, method))
            ]
        return self._rows[key]


def mean_sdr(rows: Sequence[MetricRow]) -> float:
    """Return the mean SDR."""
    return statistics.fmean(row.value for row in rows if row.metric == "sdr")


def difference(ours: Sequence[MetricRow], theirs: Sequence[MetricRow]) -> dict[str, Any]:
    """Return the paired difference in SDR."""
    found: PairedDifference = paired_difference(ours, theirs, "sdr")
    return {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}


def measure_windows(benches: Mapping[str, Bench], _: argparse.Namespace) -> dict[str, Any]:
    """Hold iN-NMF trained at a window of 2000 against matrix NMF fitted at each window."""
    result: dict[str, Any] = {}
    for kind, bench in benches.items():
        for n in WINDOWS:
            classical = bench.rows(single(stft(n), stft(n), **CLASSICAL))
            ours = bench.rows(single(stft(2000), stft(n), **PAPER))
            result[f"{kind} {n}"] = {
                "nmf": mean_sdr(classical),
                "inmf": mean_sdr(ours),
                "difference": difference(ours, classical),
            }
            say(f"{kind} {n}: {result[f'{kind} {n}']}")
    return result


def measure_presets(benches: Mapping[str, Bench], _: argparse.Namespace) -> dict[str, Any]:
    """Hold the presets against matrix NMF at whichever window is the best of it on these very examples."""
    result = {}
    for kind, bench in benches.items():
        classical = {n: bench.rows(single(stft(n), stft(n), **CLASSICAL)) for n in WINDOWS}
        best = max(WINDOWS, key=lambda n: mean_sdr(classical[n]))
        ours = bench.rows(PRESETS[kind])
        result[kind] = {
            "best_window": best,
            "nmf": mean_sdr(classical[best]),
            "preset": mean_sdr(ours),
            "difference": difference(ours, classical[best]),
        }
        say(f"preset {kind}: {result[kind]}")
    return result


CQT = "cqt:fmin=60,bins_per_octave=24"
PACKETS = "wavelet:kind=packet"
SINUSOIDAL = "sinusoidal"
TRAINED = {
    **{f"STFT {n}": (stft(n),) for n in WINDOWS},
    "CQT": (CQT,),
    "wavelet packets": (PACKETS,),
    "sinusoidal": (SINUSOIDAL,),
    "hybrid": (stft(2000), CQT, PACKETS),
}
TESTED = {**{f"STFT {n}": stft(n) for n in WINDOWS}, "CQT": CQT, "wavelet packets": PACKETS, "sinusoidal": SINUSOIDAL}


def measure_transforms(benches: Mapping[str, Bench], given: argparse.Namespace) -> dict[str, Any]:
    """Learn through one transform and separate through another: mean SDR of each pair."""
    result: dict[str, Any] = {}
    for kind, bench in benches.items():
        few = Bench(bench.examples[: given.examples])
        table: dict[str, dict[str, float]] = {}
        rows: dict[tuple[str, str], list[MetricRow]] = {}
        for learned, analyze in TRAINED.items():
            for through, spec in TESTED.items():
                rows[learned, through] = few.rows(_crossed(analyze, spec))
                table.setdefault(learned, {})[through] = mean_sdr(rows[learned, through])
            say(f"{kind}, learned through {learned}: {table[learned]}")
        base = rows["STFT 2000", "STFT 2000"]
        losses = {
            through: difference(rows["STFT 2000", through], base)
            for through in ("CQT", "wavelet packets", "sinusoidal")
        }
        result[kind] = {"sdr": table, "losses": losses, "examples": len(few.examples)}
    return result


def _crossed(analyze: Sequence[str], spec: str) -> Method:
    return Method((Member(tuple(analyze), spec, {**PAPER, "max_iter": 100}),), 60)


# Updates and second mask that suit transforms other than those that a dictionary was learned through.
ACROSS = {
    "CQT": ("cqt:fmin=60,bins_per_octave=48,gamma=30", 30, 1.3),
    "wavelet packets": (f"{PACKETS},shifts=16", 30, None),
}


def measure_across(benches: Mapping[str, Bench], _: argparse.Namespace) -> dict[str, Any]:
    """Learn through an STFT and separate through other transforms, by few updates of the activations."""
    result = {}
    for kind, bench in benches.items():
        base = bench.rows(_crossed((stft(2000),), stft(2000)))
        for name, (spec, updates, refine) in ACROSS.items():
            members = _crossed((stft(2000),), spec).members
            ours = bench.rows(Method(members, updates, refine))
            result[f"{kind} {name}"] = {
                "sdr": mean_sdr(ours),
                "stft": mean_sdr(base),
                "difference": difference(ours, base),
            }
            say(f"{kind} through {name}: {result[f'{kind} {name}']}")
    return result


def measure_rates(benches: Mapping[str, Bench], _: argparse.Namespace) -> dict[str, Any]:
    """Use dictionaries learned at 16 kHz on mixtures at 44.1 and 8 kHz; scores are of the common band."""
    result = {}
    for kind, bench in benches.items():
        method = single(stft(2000), stft(2000), **PAPER)
        for rate, n in ((44100, 5512), (8000, 1000)):
            through = Method((Member((stft(2000),), stft(n, n // 2), PAPER),))
            ours, base = [], []
            low = min(rate, RATE)
            for example in bench.examples:
                other = resample(example.mixture[None], RATE, rate)[0]
                truth = [resample(one[None], RATE, low)[0] if low < RATE else one for one in example.references]
                there = [resample(one[None], rate, low)[0] for one in bench.estimates(example, through, other, rate)]
                here = [
                    resample(one[None], RATE, low)[0] if low < RATE else one for one in bench.estimates(example, method)
                ]
                length = min(len(one) for one in (*truth, *there, *here))
                truth, there, here = ([one[:length] for one in group] for group in (truth, there, here))
                ours += example.score(there, truth)
                base += example.score(here, truth)
            result[f"{kind} {rate}"] = {
                "sdr": mean_sdr(ours),
                "at_16000": mean_sdr(base),
                "difference": difference(ours, base),
            }
            say(f"{kind} at {rate} Hz: {result[f'{kind} {rate}']}")
    return result


def measure_time(benches: Mapping[str, Bench], _: argparse.Namespace) -> dict[str, Any]:
    """Measure the seconds that separating one mixture of 5 s takes on one core, dictionaries given."""
    result = {}
    plain = single(stft(2000), stft(2000), **PAPER)
    fast = Method(plain.members, 30)
    for kind, bench in benches.items():
        example = bench.examples[0]
        for name, method in (("fast", fast), ("default", plain), (f"preset {kind}", PRESETS[kind])):
            bench.estimates(example, method)
            spent = []
            for _turn in range(7):
                begin = time.process_time()
                bench.estimates(example, method)
                spent.append(time.process_time() - begin)
            result[f"{kind} {name}"] = statistics.median(spent)
            say(f"{kind} {name}: {result[f'{kind} {name}']:.3f} s")
    return result


CASES: dict[str, Callable[[Mapping[str, Bench], argparse.Namespace], dict[str, Any]]] = {
    "time": measure_time,
    "presets": measure_presets,
    "windows": measure_windows,
    "rates": measure_rates,
    "across": measure_across,
    "transforms": measure_transforms,
}


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this case (may be repeated)")
    parser.add_argument("--kind", action="append", choices=list(SPLITS), help="only this set (may be repeated)")
    parser.add_argument("--split", choices=["test", "development"], default="test", help="which examples (test)")
    parser.add_argument("--examples", type=int, default=6, help="examples of each set for pairs of transforms (6)")
    parser.add_argument("--sets", type=Path, default=HERE / "data", help="folder with speech/ and music/")
    parser.add_argument("--out", type=Path, default=RESULTS, help="results file (benchmarks/results.json)")
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for and write the results after each case."""
    given = arguments()
    one_thread()
    benches = {}
    for kind in given.kind or SPLITS:
        folders = [given.sets / kind / name for name in SPLITS[kind][given.split]]
        missing = [str(folder) for folder in folders if not (folder / "mix.flac").is_file()]
        if missing:
            say(f"{kind}: {missing[0]} is not there; `python benchmarks/build_sets.py --{kind}` builds the set")
            continue
        benches[kind] = Bench([Example(kind, folder) for folder in folders])
    for case in given.case or CASES:
        figures = CASES[case](benches, given)
        if given.split == "test":
            known = load_section(SECTION, given.out) or {}
            save_section(
                SECTION, {**known, case: {**(known.get(case) or {}), **figures}, "machine": machine()}, given.out
            )
    if given.split == "test" and given.out == RESULTS:
        write_between(PAGE, "<!-- separation: begin -->", "<!-- separation: end -->", tables(load_section(SECTION)))


def tables(figures: Mapping[str, Any]) -> str:
    """Return the tables of the page, in Markdown."""
    parts = []
    if "windows" in figures:
        parts.append("| set, window | matrix NMF, fitted there | iN-NMF, trained at 2000 | difference, 95 % interval |")
        parts.append("|---|---:|---:|---:|")
        parts += [
            f"| {name} | {one['nmf']:.2f} | {one['inmf']:.2f} | {_interval(one['difference'])} |"
            for name, one in figures["windows"].items()
        ]
        parts.append("")
    if "presets" in figures:
        parts.append("| set | matrix NMF, at its best window | preset | difference, 95 % interval |")
        parts.append("|---|---:|---:|---:|")
        parts += [
            f"| {name} | {one['nmf']:.2f} ({one['best_window']}) | {one['preset']:.2f} "
            f"| {_interval(one['difference'])} |"
            for name, one in figures["presets"].items()
        ]
        parts.append("")
    if "rates" in figures:
        parts.append("| set, mixture's rate | SDR there | SDR at 16 kHz | difference, 95 % interval |")
        parts.append("|---|---:|---:|---:|")
        parts += [
            f"| {name} Hz | {one['sdr']:.2f} | {one['at_16000']:.2f} | {_interval(one['difference'])} |"
            for name, one in figures["rates"].items()
        ]
        parts.append("")
    if "across" in figures:
        parts.append(
            "| set, separated through, few updates | SDR there | through the STFT | difference, 95 % interval |"
        )
        parts.append("|---|---:|---:|---:|")
        parts += [
            f"| {name} | {one['sdr']:.2f} | {one['stft']:.2f} | {_interval(one['difference'])} |"
            for name, one in figures["across"].items()
        ]
        parts.append("")
    for kind, one in figures.get("transforms", {}).items():
        columns = list(next(iter(one["sdr"].values())))
        parts.append(f"| {kind}: learned through | " + " | ".join(columns) + " |")
        parts.append("|---|" + "---:|" * len(columns))
        parts += [
            f"| {name} | " + " | ".join(f"{row[c]:.2f}" for c in columns) + " |" for name, row in one["sdr"].items()
        ]
        parts.append("")
    if "time" in figures:
        parts.append("| one mixture of 5 s, one core | seconds |")
        parts.append("|---|---:|")
        parts += [f"| {name} | {seconds:.3f} |" for name, seconds in figures["time"].items()]
        parts.append("")
    return "\n".join(parts).rstrip()


def _interval(one: Mapping[str, Any]) -> str:
    return f"{one['mean']:+.2f} ({one['low']:+.2f} to {one['high']:+.2f})"


if __name__ == "__main__":
    main()
