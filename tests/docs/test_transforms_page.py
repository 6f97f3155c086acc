"""The page of transforms: its tables have every option, its examples run, its pictures are what is drawn now."""

from __future__ import annotations

import importlib.util
import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from inmf_flow import get_transform
from inmf_flow.pipeline.config import pipeline_from_mapping
from inmf_flow.points import PointSet

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "transforms.md"
TRANSFORMS = ("stft", "cqt", "wavelet", "sinusoidal", "reassigned")
MOST_BYTES = 300_000


def sections() -> dict[str, str]:
    text = PAGE.read_text(encoding="utf-8")
    return {part.split("\n", 1)[0]: part for part in re.split(r"^## ", text, flags=re.MULTILINE)}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def options_of(name: str) -> dict[str, str]:
    """From the options in a transform's table to the defaults beside them."""
    table = sections()[name].split("| option | default | meaning |", 1)[1].split("\n\n", 1)[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_tables_have_every_option_with_its_default(name: str) -> None:
    transform = get_transform(name)
    fields = type(transform.config).model_fields
    stated = options_of(name)
    assert set(stated) == set(fields)
    for option, field in fields.items():
        if field.default is not None:
            expected = str(field.default).lower() if isinstance(field.default, bool) else field.default
            said = stated[option].strip("`")
            assert said == expected or float(said) == pytest.approx(expected), option


def test_defaults_that_depend_on_other_options_are_those_of_the_table() -> None:
    stated = options_of("wavelet")
    for wavelet, kinds in re.findall(r"`([\w.-]+)` \(((?:`\w+`(?:, )?)+)\)", stated["wavelet"]):
        for kind in re.findall(r"\w+", kinds):
            config: Any = get_transform("wavelet", kind=kind).config
            assert config.wavelet_name == wavelet
    silence = np.zeros(16000, np.float32)
    cwt = get_transform("wavelet", kind="cwt")
    same = {"fmin": float(stated["fmin"]), "bins_per_octave": int(stated["bins_per_octave"]), "fmax": 0.42 * 16000}
    expected = get_transform("wavelet", kind="cwt", **same)
    assert bands(cwt.analyze(silence, 16000)) == bands(expected.analyze(silence, 16000))


def bands(points: PointSet) -> list[list[float]]:
    return [block.frequencies.tolist() for block in points.blocks]  # type: ignore[misc]


def test_every_section_and_kind_has_a_row_in_the_table_of_choices() -> None:
    text = sections()["Which one"]
    kinds = type(get_transform("wavelet").config).model_json_schema()["properties"]["kind"]["enum"]
    rows = re.findall(r"^\| (?:\[)?`(\w+)`.*?\|", text, re.MULTILINE)
    assert set(rows) == set(TRANSFORMS)
    assert re.findall(r"^\| (?:\[)?`wavelet`(?:\]\(#wavelet\))?, `(\w+)` \|", text, re.MULTILINE) == kinds


def test_python_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    examples = blocks("python")
    assert examples
    for example in examples:
        exec(compile(example, PAGE.name, "exec"), names)
    assert list(names["notes"]) == ["note-1", "note-2"]
    assert np.abs(sum(names["notes"].values()) - names["audio"]).max() < 1e-5
    assert names["longest"].times[-1] - names["longest"].times[0] > 1


def test_pieces_of_pipelines_are_valid() -> None:
    pieces = [yaml.safe_load(block) for block in blocks("yaml")]
    assert len(pieces) == 2
    for piece in pieces:
        whole = {"name": "piece", "corpus": {"mixtures": "*.wav"}, "sources": {"one": {"audio": "one.wav"}}, **piece}
        pipeline_from_mapping(whole)


def test_the_hybrid_of_the_page_is_that_of_the_pipeline() -> None:
    shown = yaml.safe_load(blocks("yaml")[0])
    whole = yaml.safe_load((ROOT / "pipelines" / "hybrid.yaml").read_text(encoding="utf-8"))
    assert shown == {key: whole[key] for key in shown}


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pictures_of_the_documentation_are_there_and_small(pictures: ModuleType) -> None:
    shown = {
        path for page in (ROOT / "docs").glob("*.md") for path in re.findall(r"\]\(images/(\S+?)\)", page.read_text())
    }
    # Those of segmentation are drawn by `inmf segment`, those of the paper's experiments are of their reports.
    of_results = {"relevance.png", "segmentation.png", "paper-separation.png", "paper-reconstruction.png"}
    assert shown - of_results == {f"{name}.png" for name in pictures.PICTURES}
    for name in shown:
        assert 0 < (pictures.IMAGES / name).stat().st_size < MOST_BYTES


def test_the_picture_of_the_hybrid_is_what_is_drawn_now(pictures: ModuleType, tmp_path: Path) -> None:
    pictures.save(pictures.draw_hybrid(), tmp_path / "hybrid.png")
    drawn, kept = (rgb(path) for path in (tmp_path / "hybrid.png", pictures.IMAGES / "hybrid.png"))
    assert drawn.shape == kept.shape
    # Rounding and another start of the fit move hardly a pixel; another transform or fewer iterations move a hundredth.
    assert (np.abs(drawn - kept).max(axis=-1) > 64).mean() < 0.005


def rgb(file: Path | io.BytesIO) -> np.ndarray:
    """A picture on grey, [rows, columns, 3]."""
    with Image.open(file) as opened:
        picture = opened.convert("RGBA")
    ground = Image.new("RGBA", picture.size, "grey")
    return np.asarray(Image.alpha_composite(ground, picture).convert("RGB"), dtype=np.int16)


def test_the_picture_of_the_transforms_shows_both_grids_and_scattered_points(
    pictures: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SHOWN", {"stft": "grid", "sinusoidal:fit=parts": "both"})
    figure = pictures.draw_transforms()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    grid, both = (np.asarray(figure.axes[n].images[0].get_array()) for n in (0, 2))
    assert grid.shape == both.shape
    assert (grid != both).any()
    assert rgb(drawn).shape[1] == rgb(pictures.IMAGES / "transforms.png").shape[1]


def test_a_picture_has_each_point_of_a_grid_in_its_cell(pictures: ModuleType) -> None:
    points = PointSet.from_grid([0.5, 1.5], [100.0, 300.0], [[1.0, 2.0], [3.0, 4.0]], duration=2.0, nyquist=400.0)
    picture = pictures.raster(points, (0.0, 2.0), (100.0, 400.0), (4, 2), 1)
    # The cells meet at 200 Hz and 1 s: half of the octaves and half of the seconds.
    assert picture.tolist() == [[1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0]]


def test_a_picture_has_scattered_points_where_they_are_and_none_from_outside(pictures: ModuleType) -> None:
    points = PointSet.from_points([0.6, 1.9, 2.1, -0.1], [150.0, 350.0, 150.0, 150.0], [1.0, 2.0, 9.0, 9.0])
    picture = pictures.raster(points, (0.0, 2.0), (100.0, 400.0), (4, 2), 1)
    assert picture.tolist() == [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]]
    wide = pictures.raster(points, (0.0, 2.0), (100.0, 400.0), (4, 2), 3)
    assert (wide < 9).all()
