"""The page in a real browser: pictures are drawn, players play, the console stays clean, nothing is fetched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from inmf_flow.report import write_report
from inmf_flow.report.segmentation import write_segmentation_report
from inmf_flow.segmentation import run_segmentation

pytestmark = pytest.mark.browser

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")

PICTURES_DRAWN = """async () => {
  await Promise.all([...document.images].map(image => image.decode()));
  return [...document.images].map(image => image.complete && image.naturalWidth > 0);
}"""

PLAYER_PLAYS = """async player => {
  player.muted = true;
  await player.play();
  const patience = performance.now() + 10000;
  while (player.currentTime === 0 && !player.error && performance.now() < patience)
    await new Promise(resolve => setTimeout(resolve, 20));
  const error = player.error && `${player.error.code}: ${player.error.message}`;
  const state = {ready: player.readyState, duration: player.duration, time: player.currentTime, error};
  player.pause();
  return state;
}"""


def find_browser() -> str | None:
    chosen = os.environ.get("INMF_CHROMIUM")
    return chosen or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = find_browser()
    if path is None:
        message = f"no browser: none of {', '.join(NAMES)} is on the path and INMF_CHROMIUM is not set"
        if os.environ.get("INMF_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the console, the page's errors and its requests say that they should not."""
    return []


@pytest.fixture
def visit(browser: Any, complaints: list[str]) -> Iterator[Any]:
    """Open a file in a new tab of a given width and colour scheme."""
    contexts = []

    def open_page(path: Path, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: _check_address(request.url, complaints))
        page.goto(path.as_uri(), wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()


def _check_address(address: str, complaints: list[str]) -> None:
    if not address.startswith(("file:", "data:", "blob:")):
        complaints.append(f"request: {address}")


@pytest.fixture
def report(tmp_path: Path, runs: SimpleNamespace) -> Path:
    """A page with usual, short and stereo recordings, a failure and a hostile name."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "short.wav", 0.1 * rng.standard_normal((800, 1)), 16000)
    soundfile.write(tmp_path / "stereo.wav", 0.1 * rng.standard_normal((22050, 2)), 44100)
    odd = {"mixture": "stereo.wav", "outputs": {"left": "short.wav"}, "references": {}, "status": "done"}
    hostile = "<img src=x onerror=alert(1)>" + "long" * 40
    items = {
        "two-speakers": runs.item("two-speakers", tmp_path),
        hostile: odd,
        "bad": {"status": "failed", "reason": "<script>alert(2)</script>" + "/deep" * 60},
    }
    run = runs.make(tmp_path, items, runs.rows(["two-speakers", hostile]))
    return write_report(run)


def test_pictures_are_drawn_in_light_and_dark(report: Path, visit: Any, complaints: list[str]) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = visit(report, scheme=scheme)
        drawn = page.evaluate(PICTURES_DRAWN)
        assert len(drawn) == 5 + 2 + 6
        assert all(drawn)
        shades[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert shades["light"] != shades["dark"]
    assert complaints == []


def test_players_play(report: Path, visit: Any, complaints: list[str]) -> None:
    page = visit(report)
    players = page.query_selector_all("audio")
    assert len(players) == 5 + 2
    durations = []
    for player in players:
        state = player.evaluate(PLAYER_PLAYS)
        assert state["error"] is None
        assert state["ready"] >= 2
        assert state["time"] > 0
        durations.append(state["duration"])
    assert durations == pytest.approx([durations[0]] * 5 + [0.5, 0.512], abs=0.02)
    assert complaints == []


@pytest.mark.parametrize("width", [1280, 400])
def test_nothing_overflows_sideways(report: Path, visit: Any, complaints: list[str], width: int) -> None:
    page = visit(report, width=width)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []


def test_links_lead_to_their_sections(report: Path, visit: Any) -> None:
    page = visit(report)
    for link in page.query_selector_all("nav a, table.items a"):
        target = link.get_attribute("href")
        assert target is not None
        assert page.query_selector(target) is not None
    page.click("nav a[href='#sources']")
    top = page.evaluate("document.querySelector('#sources').getBoundingClientRect().top")
    bar = page.evaluate("document.querySelector('.bar').getBoundingClientRect().bottom")
    assert bar - 1 <= top < 300


@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_of_a_segmentation_is_drawn_plays_and_fits(
    tmp_path: Path, repository: Path, visit: Any, complaints: list[str], width: int
) -> None:
    run_segmentation(repository / "pipelines" / "segmentation.yaml", tmp_path, pictures=False)
    page = visit(write_segmentation_report(tmp_path), width=width)
    assert page.evaluate(PICTURES_DRAWN) == [True, True]
    state = page.query_selector("audio").evaluate(PLAYER_PLAYS)
    assert state["error"] is None
    assert state["duration"] == pytest.approx(20, abs=0.02)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert complaints == []
