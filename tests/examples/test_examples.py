"""The examples run as they are, and print what the documentation claims."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def printed(name: str, folder: Path) -> dict[str, list[float]]:
    """Run an example with a picture; return the numbers that follow the colon of each part of what it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--picture", "picture.png"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    parts = [part.partition(":") for part in re.split(r";|\n", done.stdout) if part.strip()]
    return {key.strip(): [float(number) for number in _NUMBER.findall(rest)] for key, _, rest in parts}


def test_principal_functions_and_whole_curves_come_from_five_points_each(tmp_path: Path) -> None:
    figures = printed("functional_pca.py", tmp_path)
    first, second, *truth = figures["variances"]
    assert [first, second] == pytest.approx(truth, rel=0.15)
    assert min(figures["likeness to the true functions"]) > 0.99
    error, of_the_mean = figures["error of whole curves"]
    assert error < 0.2 * of_the_mean


@pytest.mark.full
def test_atoms_are_the_shapes_that_principal_functions_mix(tmp_path: Path) -> None:
    figures = printed("sparse_dictionary.py", tmp_path)
    assert min(figures["likeness of atoms to the shapes"]) > 0.99
    assert min(figures["likeness of principal functions"]) < 0.95
    found, truth = figures["codes that are 0"][-2:]
    assert 0.5 * truth < found < 1.2 * truth


@pytest.mark.full
def test_an_image_gets_rid_of_noise_and_gets_hidden_pixels_back(tmp_path: Path) -> None:
    figures = printed("image.py", tmp_path)
    assert figures["denoised"][0] > figures["noisy"][0] + 5
    assert figures["filled"][0] > figures["half hidden, by the mean"][0] + 8
    assert figures["rebuilt"][0] > figures["noisy and half hidden, by the mean"][0] + 5


@pytest.mark.full
def test_regions_of_interest_are_where_the_gaze_dwelt(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "eye_tracking.py"), "--picture", "picture.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").exists()
    assert "simulated" in done.stdout
    regions = [[float(n) for n in _NUMBER.findall(line)] for line in done.stdout.splitlines()[1:]]
    assert len(regions) == 4
    # Four different ones, with the truth beside each.
    assert len({(x, y) for *_, x, y, _ in regions}) == 4
    for x, y, share, true_x, true_y, true_share in regions:
        assert abs(x - true_x) < 100
        assert abs(y - true_y) < 60
        assert share == pytest.approx(true_share, abs=0.05)


def test_gaps_an_upper_band_and_a_voice_in_noise_come_back(tmp_path: Path) -> None:
    figures = printed("missing_audio.py", tmp_path)
    assert figures["filled"][0] > max(figures["gaps, by lines"][0], 0) + 3
    assert figures["extended"][0] < figures["upper band, missing"][0] - 2
    assert figures["denoised"][0] > figures["noisy"][0] + 4


def test_every_example_is_short_and_in_the_table() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for script in sorted(EXAMPLES.glob("*.py")):
        assert f"| `{script.name}` |" in text
        assert len(script.read_text(encoding="utf-8").splitlines()) <= 90
