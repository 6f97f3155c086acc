"""The doctor names what hangs, crashes, lies or returns nonsense, and passes the built-in ones."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from inmf_flow.plugins import Diagnosis, doctor

# Long enough for a busy machine, since each hanging step costs it.
TIME_LIMIT = 8.0

ANALYZE = "def analyze(self, audio, sample_rate, *, span=None):\n        "


@pytest.fixture(scope="module")
def diagnoses(shared_site: Any, transform_source: Any) -> list[Diagnosis]:
    site, transform = shared_site, transform_source
    site.install("a-good", {"good": "good_module"}, {"good_module": transform("good")})
    site.install("b-hangs", {"hangs": "hangs_module"}, {"hangs_module": "import time\ntime.sleep(600)\n"})
    site.install("c-dies", {"dies": "dies_module"}, {"dies_module": "import os\nos.abort()\n"})
    for name, body in {
        "slow": ANALYZE + "import time; time.sleep(600)",
        "dead": ANALYZE + "import os; print('last words'); os._exit(7)",
        "none": ANALYZE + "return None",
        "negative": ANALYZE + "p = super().analyze(audio, sample_rate); p.blocks[0].magnitudes[0] = -1; return p",
        "nan": ANALYZE + "p = super().analyze(audio, sample_rate); p.blocks[0].magnitudes[0] = float('nan'); return p",
        "misfit": ANALYZE + "from inmf_flow.points import GridBlock; GridBlock.build([0.0], [1.0, 2.0], [[1.0]])",
        "shapeless": ANALYZE + "p = super().analyze(audio, sample_rate); b = p.blocks[0]; "
        "object.__setattr__(b, 'magnitudes', b.magnitudes[1:]); return p",
        "raises": ANALYZE + "raise ValueError('not today')",
        "boasting": "min_snr_db = 400.0",
        "unpromised": "min_snr_db = None",
        "cut": "def synthesize(self, points, gains=None):\n        return super().synthesize(points)[1:]",
        "one-way": "invertible = 'none'",
        "demanding": "def __init__(self, config=None, *, must):\n        super().__init__(config)",
    }.items():
        module = f"t_{name.replace('-', '_')}"
        site.install(f"t-{name}", {name: module}, {module: transform(name, body)})
    site.install("u-broken", {"broken": "broken_module"}, {"broken_module": "import no_such_module\n"})
    old = transform("old", "api_version = 99")
    site.install("v-old", {"old": "old_module"}, {"old_module": old})
    site.install("v-rival", {"rival": "rival_module"}, {"rival_module": transform("stft")})
    site.install("v-twin", {"good": "twin_module"}, {"twin_module": transform("twin")})
    misspelt = transform("spelt").replace("def register_transforms", "def register_transform")
    site.install("w-misspelt", {"misspelt": "misspelt_module"}, {"misspelt_module": misspelt})
    # Its own sys.path, as in an interpreter where the packages are installed.
    path = list(sys.path)
    sys.path.insert(0, str(site.folder))
    try:
        return doctor(TIME_LIMIT)
    finally:
        sys.path[:] = path


def wrong(diagnoses: list[Diagnosis], plugin: str) -> Diagnosis:
    (found,) = [d for d in diagnoses if d.plugin == plugin and not d.ok]
    return found


@pytest.mark.parametrize("plugin", ["inmf-flow:stft", "a-good:good", "t-one-way:one-way"])
def test_what_works_passes_every_check(diagnoses: list[Diagnosis], plugin: str) -> None:
    checks = [(d.check, d.ok) for d in diagnoses if d.plugin == plugin]
    assert checks == [("load", True), ("config", True), ("analyze", True), ("round trip", True)]


@pytest.mark.parametrize(
    ("plugin", "check", "message"),
    [
        ("b-hangs:hangs", "load", "loading did not end within 8 seconds"),
        ("c-dies:dies", "load", "loading ended the process: signal SIGABRT"),
        ("t-slow:slow", "analyze", "analyze did not end within 8 seconds"),
        ("t-dead:dead", "analyze", "analyze ended the process: exit status 7"),
        ("t-none:none", "analyze", "returned a NoneType; expected a PointSet"),
        ("t-negative:negative", "analyze", "magnitudes that are negative or not finite"),
        ("t-nan:nan", "analyze", "magnitudes that are negative or not finite"),
        ("t-shapeless:shapeless", "analyze", "returned magnitudes of shape (1000, 5) in block 0; expected (1001, 5)"),
        ("t-misfit:misfit", "analyze", "analyze raised PointsError: magnitudes do not fit the axes"),
        ("t-raises:raises", "analyze", "analyze raised ValueError: not today (t_raises.py, line"),
        ("t-boasting:boasting", "round trip", "dB; 400 dB are promised"),
        ("t-unpromised:unpromised", "round trip", "min_snr_db is None"),
        ("t-cut:cut", "round trip", "returned shape (3999,); expected (4000,)"),
        ("t-demanding:demanding", "config", "config raised TypeError"),
        ("u-broken:broken", "load", "No module named 'no_such_module'"),
        ("v-old:old", "load", "'old' has api_version 99; this inmf_flow supports 1"),
        ("v-rival:rival", "load", "'stft' is not used: the name is taken by inmf-flow:stft"),
        ("v-twin:good", "load", "a-good 1.2.3 has an entry point named 'good' too; both are loaded"),
        ("w-misspelt:misspelt", "load", "no hook named 'register_transform'; did you mean 'register_transforms'?"),
    ],
)
def test_what_is_wrong_is_named(diagnoses: list[Diagnosis], plugin: str, check: str, message: str) -> None:
    found = wrong(diagnoses, plugin)
    assert found.check == check
    assert message in found.message


def test_a_plugin_registered_in_this_process_is_not_forgotten() -> None:
    from inmf_flow.plugins import register_plugin, unregister_plugin

    register_plugin(object(), "nothing")
    try:
        found = wrong(doctor(), "nothing")
    finally:
        unregister_plugin("nothing")
    assert "implements no hook" in found.message
