"""The page: what it shows, that it needs nothing else, and that nothing written in a run can act on it."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import soundfile

from inmf_flow.errors import ArgumentError, ConfigError
from inmf_flow.evaluate import MetricRow
from inmf_flow.report import write_report

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&amp;{{ 7*7 }}"


def failed_item(reason: str | None) -> dict[str, object]:
    return {"mixture": "gone.wav", "status": "failed", "reason": reason, "outputs": {}, "references": {}}


def test_shows_each_recording_and_each_source(tmp_path: Path, runs: SimpleNamespace) -> None:
    run = runs.make(tmp_path)
    path = write_report(run)
    assert path == run / "report.html"
    page = runs.read(path)
    recordings = 5  # The mixture, and an estimate and a reference of each of two sources.
    learned = 2 * 3  # Templates, activations and divergence.
    assert len(page.all("img")) == recordings + learned
    assert all(image["alt"] and image["src"].startswith("data:image/svg+xml,") for image in page.all("img"))
    assert len({image["src"] for image in page.all("img")}) >= recordings + 3
    players = page.all("audio")
    assert len(players) == recordings
    assert all("controls" in player and player["preload"] == "metadata" for player in players)
    assert len({player["aria-label"] for player in players}) == recordings
    for text in (
        "quickstart",
        "SI-SDR (dB)",
        "STOI",
        "+7.93",
        "Spectral templates",
        "12 components",
        "2.13.0",
        "9f2b7c61d04e",
    ):
        assert text in page.text


def test_players_hold_16_bit_flac_of_the_whole_clip(tmp_path: Path, runs: SimpleNamespace) -> None:
    page = runs.read(write_report(runs.make(tmp_path)))
    for player in page.all("audio"):
        kind, _, encoded = player["src"].partition(",")
        assert kind == "data:audio/flac;base64"
        with soundfile.SoundFile(io.BytesIO(base64.b64decode(encoded))) as sound:
            assert (sound.format, sound.subtype, sound.samplerate) == ("FLAC", "PCM_16", 16000)
            assert sound.frames / sound.samplerate == pytest.approx(4.0, abs=0.5)


def test_needs_no_other_file_and_no_network(tmp_path: Path, runs: SimpleNamespace) -> None:
    page = runs.read(write_report(runs.make(tmp_path)))
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base")
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith("data:") or address[1:] in ids, address
    assert "url(" not in (tmp_path / "report.html").read_text().split("</style>")[0]
    assert any(meta.get("content", "").startswith("default-src 'none'") for meta in page.all("meta"))


@pytest.mark.full
def test_the_same_folder_gives_the_same_page(tmp_path: Path, runs: SimpleNamespace) -> None:
    run = runs.make(tmp_path)
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_names_and_reasons_are_text_and_nothing_else(tmp_path: Path, runs: SimpleNamespace) -> None:
    item = runs.item("two-speakers", tmp_path)
    item["outputs"][HOSTILE] = item["outputs"]["male"]
    item["references"][HOSTILE] = item["references"]["male"]
    run = runs.make(
        tmp_path,
        {HOSTILE: item, "bad": failed_item(HOSTILE)},
        [MetricRow(HOSTILE, HOSTILE, HOSTILE, 1.0, 0.5, 0.5)],
        name=HOSTILE,
        status=HOSTILE,
        config_hash=HOSTILE,
        notes=[HOSTILE],
        versions={HOSTILE: HOSTILE},
        pipeline={HOSTILE: HOSTILE},
        counts={HOSTILE: {"done": 1}},
        sources={HOSTILE: runs.source("male", files=[HOSTILE], reason=HOSTILE, status=HOSTILE)},
        failures=[{"stage": HOSTILE, "item": HOSTILE, "reason": HOSTILE}],
    )
    page = runs.read(write_report(run))
    assert page.text.count(HOSTILE) > 15
    assert not page.all("script")
    assert all(image["src"].startswith("data:") for image in page.all("img"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not any("script" in image["src"] for image in page.all("img"))


def test_names_that_have_no_utf8_form_are_shown_as_well_as_can_be(tmp_path: Path, runs: SimpleNamespace) -> None:
    run = runs.make(tmp_path, {"caf\udce9": failed_item("not audio")}, [], pipeline={"name": "caf\udce9"})
    assert "caf?" in runs.read(write_report(run)).text


def test_failures_come_with_their_reasons(tmp_path: Path, runs: SimpleNamespace) -> None:
    items = {"good": runs.item("good", tmp_path), "bad": failed_item("bad.wav: not audio"), "odd": failed_item(None)}
    sources = {"male": runs.source("male"), "female": runs.source("female", status="failed", reason="no usable file")}
    sources["female"]["model"] = None
    failures = [{"stage": "analyze", "item": "train.wav", "reason": "holds NaN"}]
    run = runs.make(tmp_path, items, runs.rows(["good"]), status="failed", sources=sources, failures=failures)
    text = runs.read(write_report(run)).text
    for expected in (
        "bad.wav: not audio",
        "no usable file",
        "holds NaN",
        "no reason was recorded",
        "3 in all, 2 failed",
    ):
        assert expected in text


def test_an_item_that_was_separated_but_not_evaluated_is_shown(tmp_path: Path, runs: SimpleNamespace) -> None:
    item = runs.item("half", tmp_path, status="failed", reason="the reference is shorter")
    page = runs.read(write_report(runs.make(tmp_path, {"half": item}, [])))
    assert len(page.all("audio")) == 5
    assert "the reference is shorter" in page.text
    assert "This item was not evaluated." in page.text


def test_items_beyond_the_limit_are_in_the_table_only(tmp_path: Path, runs: SimpleNamespace) -> None:
    record = runs.item("one", tmp_path)
    run = runs.make(tmp_path, dict.fromkeys(("one", "two", "three"), record))
    page = runs.read(write_report(run, max_items=1))
    assert len(page.all("audio")) == 5
    assert "Pictures and players are shown for the first 1 of 3 items; the others are in the table only." in page.text
    assert "three" in page.text
    assert "Pictures are shown for the first 1 of 2 sources." in page.text
    assert not runs.read(write_report(run, max_items=0)).all("img")
    with pytest.raises(ArgumentError, match="max_items"):
        write_report(run, max_items=-1)


def test_without_references_only_estimates_are_shown(tmp_path: Path, runs: SimpleNamespace) -> None:
    page = runs.read(write_report(runs.make(tmp_path, {"mix": runs.item("mix", tmp_path, references={})}, [])))
    assert len(page.all("audio")) == 3
    assert "There are no metrics to summarise." in page.text
    assert "no such file" not in page.text


@pytest.mark.full
def test_ten_thousand_items_stay_readable(tmp_path: Path, runs: SimpleNamespace) -> None:
    names = [f"clip-{number:05d}" for number in range(10_000)]
    broken = {name: failed_item("not audio") for name in names[:5000]}
    others = {name: {"status": "done", "mixture": None, "outputs": {}, "references": {}} for name in names[5000:]}
    run = runs.make(tmp_path, {**broken, **others}, runs.rows(names[5000:]))
    begin = time.perf_counter()
    path = write_report(run, max_items=2)
    assert time.perf_counter() - begin < 60
    assert path.stat().st_size < 20e6
    page = runs.read(path)
    table_pages = [attributes for attributes in page.all("details") if attributes.get("class") == "page"]
    assert len(table_pages) == 100 + 50
    assert sum("open" in attributes for attributes in table_pages) == 2
    assert names[-1] in page.text


def test_a_folder_that_is_not_a_run_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run\.json"):
        write_report(tmp_path)
    with pytest.raises(ConfigError, match=r"no run\.json"):
        write_report(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("\xff\xfe", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "does not describe a run"),
        ('{"format": 2}', "format that this version does not read"),
    ],
)
def test_a_run_json_that_cannot_be_understood_is_one_clear_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "run.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=message):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
